// One of the two programs that `bench` measures: a child process that does what a JSON line says and answers with one.
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { z } from 'zod';
import { messageOf, UserError } from '../errors.js';
import { Answer, type Command, Hello } from './protocol.js';

interface Waiting {
  resolve(line: string): void;
  reject(error: UserError): void;
}

/** Lines of a child's stderr that an error message quotes. */
const quotedLines = 5;

/** A child process that answers each command with one line; commands are sent one at a time. */
export class Worker {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #lastLines: string[] = [];
  readonly #early: string[] = [];
  readonly #exited: Promise<void>;
  #waiting: Waiting | undefined;
  #ended: UserError | undefined;

  private constructor(name: string, child: ChildProcess) {
    this.name = name;
    this.#child = child;
    if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => this.#answered(line));
    if (child.stderr) {
      createInterface({ input: child.stderr }).on('line', (line) => {
        this.#lastLines.push(line);
        if (this.#lastLines.length > quotedLines) this.#lastLines.shift();
      });
    }
    // A command written after the child has gone is reported by 'close'; without a listener EPIPE would end this process.
    child.stdin?.on('error', () => {});
    this.#exited = new Promise((resolve) => {
      child.on('error', (error) => {
        this.#end(`cannot be started (${messageOf(error)})`);
        resolve();
      });
      child.on('close', (code, signal) => {
        this.#end(
          signal
            ? `was ended by ${signal}${signal === 'SIGKILL' ? ', probably for want of memory' : ''}`
            : `ended with code ${code}`,
        );
        resolve();
      });
    });
  }

  /**
   * Starts `command` and waits until it says that it is ready.
   *
   * @param name what messages call it, such as `the reference`
   * @throws UserError when it cannot start, or says what it lacks
   */
  static async start(
    name: string,
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<{ worker: Worker; hello: Hello }> {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    const worker = new Worker(name, child);
    try {
      return { worker, hello: await worker.#next(Hello) };
    } catch (error) {
      await worker.close();
      throw error;
    }
  }

  /**
   * Sends one command and waits for its answer.
   *
   * @param schema the fields that the answer to this command has
   * @throws UserError when the child reports an error, ends, or answers something else
   */
  ask<T>(command: Command, schema: z.ZodType<T>): Promise<T> {
    const answer = this.#next(schema);
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    return answer;
  }

  /** Asks the child to end and waits until it has; kills it after `patienceMs`. */
  async close(patienceMs = 5000): Promise<void> {
    this.#child.stdin?.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), patienceMs);
    await this.#exited;
    clearTimeout(timer);
  }

  async #next<T>(schema: z.ZodType<T>): Promise<T> {
    const line = await new Promise<string>((resolve, reject) => {
      const early = this.#early.shift();
      if (early !== undefined) resolve(early);
      else if (this.#ended) reject(this.#ended);
      else this.#waiting = { resolve, reject };
    });
    const answer = Answer.safeParse(parsed(line));
    if (!answer.success)
      throw new UserError(`${this.name} answered no JSON object but ${JSON.stringify(line.slice(0, 200))}.`);
    if (!answer.data.ok) throw new UserError(`${this.name} failed: ${answer.data.error}`);
    const fields = schema.safeParse(answer.data);
    if (!fields.success) throw new UserError(`${this.name} answered without what was asked: ${line.slice(0, 200)}`);
    return fields.data;
  }

  #answered(line: string): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) waiting.resolve(line);
    else this.#early.push(line);
  }

  #end(how: string): void {
    const quoted = this.#lastLines.join('\n');
    this.#ended ??= new UserError(`${this.name} ${how}${quoted ? `; its last lines were:\n${quoted}` : '.'}`);
    this.#waiting?.reject(this.#ended);
    this.#waiting = undefined;
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
