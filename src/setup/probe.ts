// Runs probe-child.js and reads its answer; a crash, a hang or nonsense become an error text like any other.
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { messageOf } from '../errors.js';
import { lastLine } from '../logging/text.js';
import { runProgram } from './run-program.js';

const script = fileURLToPath(new URL('./probe-child.js', import.meta.url));
const TIMEOUT_MS = 120_000;

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

async function probe<T>(
  what: string,
  schema: z.ZodType<T>,
  env: NodeJS.ProcessEnv,
): Promise<T | z.infer<typeof failure>> {
  const options = { env: { ...env, BLIP_NO_BUILD: '1' }, timeout: TIMEOUT_MS };
  const outcome = await runProgram(process.execPath, [script, what], options).catch(messageOf);
  if (typeof outcome === 'string') return { ok: false, error: outcome };
  const { code, signal, stdout, stderr } = outcome;
  // An answer before a crash at exit is not a success.
  if (code !== 0) {
    const ended = signal === null ? `exit status ${code}` : `signal ${signal}`;
    const last = lastLine(stderr);
    return { ok: false, error: `its process ended with ${ended}${last && `: ${last}`}` };
  }
  try {
    return z.union([schema, failure]).parse(JSON.parse(lastLine(stdout)));
  } catch {
    return { ok: false, error: `its process answered ${JSON.stringify(stdout.slice(0, 200))}` };
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
