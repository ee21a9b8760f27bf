// What a run says: on a terminal phases by name, one bar, and sentences that do not wrap in the middle of a word; elsewhere,
// and where it is asked for, the reference's lines, byte for byte.
import { canDrawProgress, columnsOf, type ProgressStream } from './progress-bar.js';
import { padded, widthOf } from './width.js';

/** What a run says, and where. */
export interface Voice {
  /** A sentence for the user. */
  note(line: string): void;
  /** A sentence that is no part of the reference's output: on standard error, wherever results go. */
  aside(line: string): void;
  /** A line that only the reference's output has. */
  echo(line: string): void;
  /** A phase begins; `line` is the reference's for it. The phase before has ended. */
  phase(name: string, line?: string): void;
  /** A result that a terminal shows; the reference's output has another one for it. */
  result(line: string): void;
  /** Where bars are drawn. */
  stream: ProgressStream;
  /** The last phase has ended, or failed. */
  close(): void;
  /** Whether this is a terminal's: the reference's lines are left out. */
  calm: boolean;
}

/** Nothing at all. */
export const SILENT_VOICE: Voice = {
  ...{ note() {}, aside() {}, echo() {}, phase() {}, result() {}, close() {} },
  ...{ stream: { write: () => true }, calm: false },
};

/** The reference's output, on standard output. */
export function referenceVoice(
  print: (line: string) => void = console.log,
  aside: (line: string) => void = console.error,
): Voice {
  return {
    ...SILENT_VOICE,
    note: print,
    aside,
    echo: print,
    phase: (_name, line) => {
      if (line !== undefined) print(line);
    },
  };
}

/**
 * Words of a sentence in lines of at most `columns`, the later ones indented by `hang` more. Words that need it, a long path,
 * have less indent; one longer than a line stays whole.
 */
export function wrapped(text: string, columns: number, hang = 2): string {
  const lines: string[] = [];
  for (const paragraph of text.split('\n')) {
    const indent = paragraph.match(/^ */)?.[0] ?? '';
    let line = indent;
    for (const word of wordsOf(paragraph.slice(indent.length), columns - indent.length - hang)) {
      const isFirst = line.trim() === '';
      if (!isFirst && widthOf(line) + 1 + widthOf(word) > columns) {
        lines.push(line.trimEnd());
        line = ' '.repeat(Math.min(indent.length + hang, Math.max(0, columns - widthOf(word)))) + word;
      } else line += isFirst ? word : ` ${word}`;
    }
    lines.push(line);
  }
  return lines.join('\n');
}

/** A number that a unit or a noun may follow, and what may stand before it. */
const NUMBER = /^\(?[-+−]?\d(?:[\d.,:]*\d)?$/;

/**
 * Words between spaces, in one piece where that is not longer than `most`: what is quoted, a command to be copied; a number and
 * the word after it, its unit.
 */
function wordsOf(text: string, most: number): string[] {
  const words: string[] = [];
  let open = 0; // words of a quotation that has not ended
  for (const word of text.split(' ')) {
    const quotes = word.split('"').length - 1;
    const before = words.at(-1);
    const ofNumber =
      before !== undefined && open + quotes === 0 && NUMBER.test(before) ? `${before} ${word}` : undefined;
    if (ofNumber !== undefined && widthOf(ofNumber) <= most) words.splice(-1, 1, ofNumber);
    else words.push(word);
    if (open === 0) open = quotes % 2;
    else if (quotes % 2 === 0) open += 1;
    else {
      const quoted = words.slice(-open - 1).join(' ');
      if (widthOf(quoted) <= most) words.splice(-open - 1, open + 1, quoted);
      open = 0;
    }
  }
  return words;
}

/** A title in a column of `width`, and beside it a text; on a terminal in lines that keep the column free. */
export function titled(title: string, text: string, width: number, stream: ProgressStream): string {
  return stream.isTTY === true ? beside(title, text, width, roomOf(stream)) : `${padded(title, width)}${text}`;
}

/** A title in a column of `width`, and beside it a text, in lines of at most `columns`. */
export function beside(title: string, text: string, width: number, columns: number): string {
  // A title is one word here, so that a text too long to stand beside it goes below.
  const place = '|'.repeat(width - 1);
  const [first = '', ...later] = wrapped(`${place} ${text}`, columns, width).split('\n');
  return [`${padded(title, width)}${first.slice(width)}`.trimEnd(), ...later].join('\n');
}

/** As `wrapped`, but what is indented (a command, a list) stays as it is. */
export function wrappedProse(text: string, columns: number): string {
  return text
    .split('\n')
    .map((line) => (line.startsWith(' ') ? line : wrapped(line, columns)))
    .join('\n');
}

/** Columns that a line may have: on a terminal, where the cursor needs one, and without bounds elsewhere. */
export function roomOf(stream: ProgressStream): number {
  return stream.isTTY === true ? columnsOf(stream) - 1 : Number.POSITIVE_INFINITY;
}

/** For a terminal, lines that do not break in the middle of a word; elsewhere, and for what is indented (a command, a list), as they are. */
export function fitted(text: string, stream: ProgressStream = process.stdout): string {
  return stream.isTTY === true ? wrappedProse(text, roomOf(stream)) : text;
}

/** `0.4 s`, `12 s`, `3:07 min`. */
export function secondsText(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds / 60);
  return whole < 120 ? `${whole} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** Columns of a phase's name before what is said of it. */
const NAME_WIDTH = 22;

/** A finished phase or loop as a line: its name, and what there is to say. */
export function doneLine(name: string, seconds: number, more = ''): string {
  return `${padded(name, NAME_WIDTH)} ${secondsText(seconds)}${more === '' ? '' : `  ${more}`}`;
}

/** A terminal: progress and notes go to `progress` (standard error), results to `results` (standard output). */
export class Terminal implements Voice {
  readonly calm = true;
  readonly stream: ProgressStream;
  readonly #progress: ProgressStream;
  readonly #print: (line: string) => void;
  readonly #now: () => number;
  readonly #moves: boolean;
  #phase: { name: string; since: number } | undefined;
  #drawn = false;

  constructor(progress: ProgressStream, print: (line: string) => void, now = () => performance.now() / 1000) {
    this.#progress = progress;
    this.#print = print;
    this.#now = now;
    this.#moves = canDrawProgress(progress);
    const owner = this;
    this.stream = {
      ...(this.#moves && { isTTY: true }),
      get columns() {
        return columnsOf(progress);
      },
      // A bar takes the place of the phase's name.
      write(text) {
        owner.close();
        owner.#drawn = true;
        return progress.write(text);
      },
    };
  }

  note(line: string): void {
    this.#clear();
    this.#progress.write(`${wrappedProse(line, columnsOf(this.#progress) - 1)}\n`);
    this.#show();
  }

  aside(line: string): void {
    this.note(line);
  }

  echo(): void {}

  result(line: string): void {
    this.close();
    this.#clear();
    this.#print(wrappedProse(line, columnsOf(this.#progress) - 1));
  }

  phase(name: string): void {
    this.close();
    this.#phase = { name, since: this.#now() };
    this.#show();
  }

  close(): void {
    if (this.#phase === undefined) return;
    const { name, since } = this.#phase;
    this.#clear();
    this.#phase = undefined;
    this.#progress.write(`${doneLine(name, this.#now() - since)}\n`);
  }

  #show(): void {
    if (this.#phase === undefined || !this.#moves) return;
    this.#progress.write(`${this.#phase.name} …`);
    this.#drawn = true;
  }

  /** Removes a bar or a phase's name from the line that the cursor is in. */
  #clear(): void {
    if (this.#drawn) this.#progress.write('\r\x1b[2K');
    this.#drawn = false;
  }
}
