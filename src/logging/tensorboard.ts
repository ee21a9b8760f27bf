// A file of TensorBoard's events: scalars, texts and images by step. Every event is written at once and whole, so that a run
// that is killed leaves a file that TensorBoard reads to the last event.
// Source: tensorboard/compat/proto/{event,summary,tensor}.proto, and TFRecord's frames (tensorflow/core/lib/io/record_writer.h).
import { closeSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { cannotWrite } from '../disk/cannot-write.js';
import { makeFolder } from '../disk/folder.js';
import { maskedCrc32c } from './crc32c.js';
import { delimited, double, float, integer } from './protobuf.js';

/** Numbers of the fields that are written, by message. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 };
const SESSION_LOG = { status: 1 };
const SESSION_START = 1;
const SUMMARY = { value: 1 };
const VALUE = { tag: 1, simpleValue: 2, image: 4, tensor: 8, metadata: 9 };
const IMAGE = { height: 1, width: 2, colorspace: 3, encoded: 4 };
const METADATA = { pluginData: 1, pluginName: 1 };
const TENSOR = { dtype: 1, shape: 2, stringValue: 8 };
const SHAPE = { dimension: 2, size: 1 };
const DT_STRING = 7;
const RGB = 3;

/** A PNG or JPEG with its size in pixels. */
export interface EncodedImage {
  bytes: Uint8Array;
  width: number;
  height: number;
}

/** A record: length, its checksum, the data, theirs. */
function frame(data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(data.length));
  head.writeUInt32LE(maskedCrc32c(head.subarray(0, 8)), 8);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(maskedCrc32c(data));
  return Buffer.concat([head, data, tail]);
}

let files = 0;

/** Appends events to a new file of a folder. TensorBoard shows all files of the folder as one run. */
export class EventLog {
  readonly path: string;
  readonly #file: number;
  readonly #now: () => number;

  /**
   * Makes the folder and a file in it. What earlier files of the folder have from step `from` on is forgotten: TensorBoard
   * shows this run's instead. @param now seconds since 1970
   * @throws UserError where the file cannot be written
   */
  constructor(folder: string, { from, now = () => Date.now() / 1000 }: { from: number; now?: () => number }) {
    this.#now = now;
    makeFolder(folder);
    // TensorBoard reads a folder's files in the order of their names: by time, and within a second by process and number.
    const seconds = String(Math.floor(now())).padStart(10, '0');
    const number = String(files++).padStart(4, '0');
    this.path = join(folder, `events.out.tfevents.${seconds}.${number}.${hostname()}.${process.pid}`);
    try {
      this.#file = openSync(this.path, 'ax');
    } catch (error) {
      throw cannotWrite(this.path, error);
    }
    this.#write(0, delimited(EVENT.fileVersion, 'brain.Event:2'));
    this.#write(from, delimited(EVENT.sessionLog, integer(SESSION_LOG.status, SESSION_START)));
  }

  /** Numbers by name; a name as `loss/itm` puts it into the group `loss`. */
  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const parts = Object.entries(values).map(([name, value]) =>
      delimited(SUMMARY.value, delimited(VALUE.tag, name), float(VALUE.simpleValue, value)),
    );
    this.#write(step, delimited(EVENT.summary, ...parts));
  }

  /** A text; TensorBoard reads it as Markdown. */
  text(step: number, name: string, text: string): void {
    const shape = delimited(TENSOR.shape, delimited(SHAPE.dimension, integer(SHAPE.size, 1)));
    const tensor = [integer(TENSOR.dtype, DT_STRING), shape, delimited(TENSOR.stringValue, text)];
    const plugin = delimited(METADATA.pluginData, delimited(METADATA.pluginName, 'text'));
    const value = [delimited(VALUE.tag, name), delimited(VALUE.metadata, plugin), delimited(VALUE.tensor, ...tensor)];
    this.#write(step, delimited(EVENT.summary, delimited(SUMMARY.value, ...value)));
  }

  image(step: number, name: string, { bytes, width, height }: EncodedImage): void {
    const image = [
      integer(IMAGE.height, height),
      integer(IMAGE.width, width),
      integer(IMAGE.colorspace, RGB),
      delimited(IMAGE.encoded, bytes),
    ];
    const value = [delimited(VALUE.tag, name), delimited(VALUE.image, ...image)];
    this.#write(step, delimited(EVENT.summary, delimited(SUMMARY.value, ...value)));
  }

  close(): void {
    closeSync(this.#file);
  }

  #write(step: number, what: Buffer): void {
    const record = frame(Buffer.concat([double(EVENT.wallTime, this.#now()), integer(EVENT.step, step), what]));
    try {
      for (let done = 0; done < record.length; ) done += writeSync(this.#file, record, done);
    } catch (error) {
      throw cannotWrite(this.path, error);
    }
  }
}
