// How a run of the command line speaks: calmly on a terminal, elsewhere in the reference's lines.
import type { MetricLoggerOptions } from '../logging/metric-logger.js';
import type { ProgressStream } from '../logging/progress-bar.js';
import { doneLine, referenceVoice, SILENT_VOICE, Terminal, type Voice } from '../logging/terminal.js';
import { asFlags, type RetrievalOptions } from './options.js';

/** Options that decide it. */
type VoiceOptions = Pick<RetrievalOptions, 'quiet' | 'referenceOutput'>;

/** The voice of a run's rank; only rank 0, `isMain`, speaks. */
export function voiceOf({ quiet, referenceOutput }: VoiceOptions, isMain: boolean): Voice {
  if (quiet || !isMain) return { ...SILENT_VOICE, calm: process.stdout.isTTY && !referenceOutput };
  const print = (line: string) => console.log(line);
  if (!process.stdout.isTTY || referenceOutput) return referenceVoice(print);
  return new Terminal(progressStream(), print);
}

/** Standard error. That of a rank leads to the launcher, and through it to the terminal: its lines are as long as those of stdout. */
export function progressStream(): ProgressStream {
  if (process.stderr.isTTY) return process.stderr;
  return {
    write: (text) => process.stderr.write(text),
    get columns() {
      return process.stdout.columns;
    },
  };
}

/** The logger of the loops of a run with this voice. */
export function loggerOf(voice: Voice, { quiet }: VoiceOptions, isMain: boolean): MetricLoggerOptions {
  return {
    print: (line) => voice.echo(line),
    quiet: quiet || !isMain,
    stream: voice.stream,
    ...(voice.calm && { ended: (label, seconds, pace) => voice.note(doneLine(label, seconds, pace)) }),
  };
}

/** Takes sentences of the library, which name its options, and says them with the flags of the command line. */
export const notesOf = (voice: Voice) => (line: string) => voice.note(asFlags(line));
