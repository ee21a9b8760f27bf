// Runs probe-child.js and reads its answer; a crash, a hang or nonsense become an error text like any other.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { lastLine } from '../logging/text.js';

const script = fileURLToPath(new URL('./probe-child.js', import.meta.url));
const timeoutMs = 120_000;

const failure = z.object({ ok: z.literal(false), error: z.string() });
const addon = z.object({
  ok: z.literal(true),
  built: z.string(),
  cudaLibrary: z.boolean(),
  cuda: z.boolean(),
  threads: z.number(),
  devices: z.array(z.string().nullable()),
});
const sharp = z.object({ ok: z.literal(true), sharp: z.string(), vips: z.string(), formats: z.array(z.string()) });

export type AddonProbe = z.infer<typeof addon> | z.infer<typeof failure>;
export type SharpProbe = z.infer<typeof sharp> | z.infer<typeof failure>;

interface Outcome {
  text: string;
  problem: string | undefined;
}

function run(what: string, env: NodeJS.ProcessEnv): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [script, what], {
      env,
      timeout: timeoutMs,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      errors = (errors + chunk).slice(-2_000);
    });
    child.on('error', (error) => resolve({ text, problem: error.message }));
    child.on('close', (code, signal) => {
      const last = lastLine(errors);
      const ended = signal === null ? `exit status ${code}` : `signal ${signal}`;
      resolve({ text, problem: code === 0 ? undefined : `its process ended with ${ended}${last && `: ${last}`}` });
    });
  });
}

async function probe<T>(
  what: string,
  schema: z.ZodType<T>,
  env: NodeJS.ProcessEnv,
): Promise<T | z.infer<typeof failure>> {
  const { text, problem } = await run(what, env);
  // An answer before a crash at exit is not a success.
  if (problem !== undefined) return { ok: false, error: problem };
  try {
    return z.union([schema, failure]).parse(JSON.parse(lastLine(text)));
  } catch {
    return { ok: false, error: `its process answered ${JSON.stringify(text.slice(0, 200))}` };
  }
}

/** Loads the addon in a separate process. */
export function probeAddon(env: NodeJS.ProcessEnv = process.env): Promise<AddonProbe> {
  return probe('addon', addon, env);
}

/** Loads sharp in a separate process. */
export function probeSharp(env: NodeJS.ProcessEnv = process.env): Promise<SharpProbe> {
  return probe('sharp', sharp, env);
}
