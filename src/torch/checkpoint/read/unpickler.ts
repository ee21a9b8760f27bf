// A restricted unpickler: builds plain data, calls nothing. globals.ts decides what a pickle may ask for by name.
// One loop over opcodes with an explicit stack: nesting costs memory, which is budgeted, not call depth.
import { at } from '../../../errors.js';
import { counted } from '../../../logging/text.js';
import type { Budget, ForwardReader } from '../../file-source.js';
import { isRef, type PickleScalar, type PickleValue } from '../types.js';
import { applyState, COST, construct, dictKey, type Rebuild, resolveGlobal } from './globals.js';
import { OP, REFUSED } from './opcodes.js';

/** Longest integer in bytes; Python's own limits on text are similar. torch.save writes at most 10 (its magic number). */
const LONGEST_INTEGER = 1024;
const LONGEST_NAME = 512;
/** Longest text, and longest bytes, that are kept. */
const LONGEST_TEXT = 1024 * 1024;

/**
 * Reads one pickle (protocols 2 to 5) from `reader`, which stops right after it. `rebuild` supplies storages and
 * tensors. Throws a UserError naming the file for anything that a checkpoint does not need.
 */
export function unpickle(reader: ForwardReader, rebuild: Rebuild): PickleValue {
  return new Machine(reader, rebuild).run();
}

class Machine {
  readonly budget: Budget;
  readonly #stack: PickleValue[] = [];
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, PickleValue>();
  /** Each allowed name is made once: there are few of them, however often a file mentions them. */
  readonly #globals = new Map<string, PickleValue>();

  constructor(
    readonly reader: ForwardReader,
    readonly rebuild: Rebuild,
  ) {
    this.budget = rebuild.budget;
  }

  run(): PickleValue {
    const { reader } = this;
    if (reader.byte() !== OP.PROTO) this.#damaged('does not start as a pickle of protocol 2 to 5');
    const protocol = reader.byte();
    if (protocol < 2 || protocol > 5) this.#damaged(`has protocol ${protocol}; torch.save writes 2 to 5`);
    for (;;) {
      const opcode = reader.byte();
      if (opcode === OP.STOP) {
        const result = this.#pop();
        if (this.#stack.length > 0 || this.#marks.length > 0) this.#damaged('leaves values over at its end');
        return result;
      }
      this.budget.spend(COST.slot);
      if (!this.#scalar(opcode) && !this.#container(opcode) && !this.#object(opcode)) this.#unknown(opcode);
    }
  }

  /** Numbers, text and bytes. */
  #scalar(opcode: number): boolean {
    const { reader } = this;
    switch (opcode) {
      case OP.NONE:
        return this.#push(null);
      case OP.NEWTRUE:
        return this.#push(true);
      case OP.NEWFALSE:
        return this.#push(false);
      case OP.BININT:
        return this.#push(reader.take(4).readInt32LE(0));
      case OP.BININT1:
        return this.#push(reader.byte());
      case OP.BININT2:
        return this.#push(reader.take(2).readUInt16LE(0));
      case OP.LONG1:
        return this.#push(this.#integer(reader.byte()));
      case OP.LONG4:
        return this.#push(this.#integer(this.reader.uint32()));
      case OP.BINFLOAT:
        this.budget.spend(COST.float);
        return this.#push(reader.take(8).readDoubleBE(0));
      case OP.SHORT_BINUNICODE:
      case OP.SHORT_BINSTRING:
        return this.#push(this.#text(reader.byte()));
      case OP.BINUNICODE:
      case OP.BINSTRING:
        return this.#push(this.#text(this.reader.uint32()));
      case OP.BINUNICODE8:
        return this.#push(this.#text(this.#uint64()));
      case OP.SHORT_BINBYTES:
        return this.#push(this.#bytes(reader.byte()));
      case OP.BINBYTES:
        return this.#push(this.#bytes(this.reader.uint32()));
      case OP.BINBYTES8:
      case OP.BYTEARRAY8:
        return this.#push(this.#bytes(this.#uint64()));
      default:
        return false;
    }
  }

  /** Lists, tuples, sets, dicts; marks and the memo. */
  #container(opcode: number): boolean {
    switch (opcode) {
      case OP.MARK:
        this.#marks.push(this.#stack.length);
        return true;
      case OP.POP:
        this.#pop();
        return true;
      case OP.POP_MARK:
        this.#popMark();
        return true;
      case OP.DUP:
        return this.#push(this.#top());
      case OP.EMPTY_LIST:
      case OP.EMPTY_TUPLE:
      case OP.EMPTY_SET:
        return this.#pushArray([]);
      case OP.TUPLE:
      case OP.LIST:
      case OP.FROZENSET:
        return this.#pushArray(this.#popMark());
      case OP.TUPLE1:
        return this.#pushArray(this.#popMany(1));
      case OP.TUPLE2:
        return this.#pushArray(this.#popMany(2));
      case OP.TUPLE3:
        return this.#pushArray(this.#popMany(3));
      case OP.APPEND:
        return this.#append(this.#popMany(1));
      case OP.APPENDS:
      case OP.ADDITEMS:
        return this.#append(this.#popMark());
      case OP.EMPTY_DICT:
        this.budget.spend(COST.map);
        return this.#push(new Map());
      case OP.DICT: {
        const items = this.#popMark();
        this.budget.spend(COST.map);
        this.#push(new Map());
        return this.#setItems(items);
      }
      case OP.SETITEM:
        return this.#setItems(this.#popMany(2));
      case OP.SETITEMS:
        return this.#setItems(this.#popMark());
      case OP.BINPUT:
        return this.#put(this.reader.byte());
      case OP.LONG_BINPUT:
        return this.#put(this.reader.uint32());
      case OP.MEMOIZE:
        return this.#put(this.#memo.size);
      case OP.BINGET:
        return this.#get(this.reader.byte());
      case OP.LONG_BINGET:
        return this.#get(this.reader.uint32());
      case OP.FRAME:
        this.reader.take(8);
        return true;
      default:
        return false;
    }
  }

  /** The opcodes by which Python would import and call: here they only build what globals.ts knows. */
  #object(opcode: number): boolean {
    switch (opcode) {
      case OP.GLOBAL:
        return this.#global(this.reader.line(LONGEST_NAME), this.reader.line(LONGEST_NAME));
      case OP.STACK_GLOBAL: {
        const [module, name] = this.#popMany(2);
        if (typeof module !== 'string' || typeof name !== 'string') return this.#damaged('has a global without a name');
        if (Math.max(module.length, name.length) > LONGEST_NAME)
          this.#refuse(`has a name of over ${LONGEST_NAME} bytes`);
        return this.#global(module, name);
      }
      case OP.REDUCE:
      case OP.NEWOBJ: {
        const [callee, args] = this.#popMany(2);
        if (!Array.isArray(args)) return this.#damaged('has a call without arguments');
        this.budget.spend(COST.map + COST.element * args.length);
        return this.#push(construct(this.rebuild, callee, args, opcode === OP.NEWOBJ));
      }
      case OP.NEWOBJ_EX: {
        const [callee, args] = this.#popMany(3);
        if (!Array.isArray(args)) return this.#damaged('has a call without arguments');
        this.budget.spend(COST.map + COST.element * args.length);
        return this.#push(construct(this.rebuild, callee, args, true));
      }
      case OP.BUILD: {
        const state = this.#pop();
        applyState(this.rebuild, this.#top(), state);
        return true;
      }
      case OP.BINPERSID:
        return this.#push(this.rebuild.persistent(this.#pop()));
      default:
        return false;
    }
  }

  #global(module: string, name: string): boolean {
    const key = `${module} ${name}`;
    const value = this.#globals.get(key) ?? resolveGlobal(this.rebuild, module, name);
    this.#globals.set(key, value);
    return this.#push(value);
  }

  #unknown(opcode: number): never {
    const name = REFUSED.get(opcode);
    const where = `at byte ${this.reader.position - this.reader.start - 1}`;
    if (name !== undefined) {
      this.#refuse(`uses the opcode ${name} ${where}, which no checkpoint needs`);
    }
    this.#damaged(`has an unknown opcode ${opcode} ${where}`);
  }

  #damaged(what: string): never {
    this.reader.source.damaged(`${this.reader.what} ${what}`);
  }

  #refuse(what: string): never {
    this.reader.source.refuse(`${this.reader.what} ${what}`);
  }

  #push(value: PickleValue): true {
    this.#stack.push(value);
    return true;
  }

  #pushArray(items: PickleValue[]): true {
    this.budget.spend(COST.array + COST.element * items.length);
    return this.#push(items);
  }

  #append(items: PickleValue[]): true {
    const list = this.#top();
    if (isRef(list, 'opaque')) return true; // what an object holds that is only a name is dropped
    if (!Array.isArray(list)) this.#damaged('appends to something that is not a list');
    this.budget.spend(COST.element * items.length);
    for (const item of items) list.push(item);
    return true;
  }

  #setItems(items: PickleValue[]): true {
    const map = this.#top();
    if (items.length % 2 !== 0) this.#damaged('has a dict key without a value');
    if (isRef(map, 'opaque')) return true;
    if (!(map instanceof Map)) this.#damaged('sets an item of something that is not a dict');
    this.budget.spend(COST.mapEntry * (items.length / 2));
    for (let i = 0; i < items.length; i += 2) map.set(dictKey(this.rebuild, items[i], map), at(items, i + 1));
    return true;
  }

  #put(index: number): true {
    this.budget.spend(COST.mapEntry);
    this.#memo.set(index, this.#top());
    return true;
  }

  #get(index: number): true {
    const value = this.#memo.get(index);
    if (value === undefined) this.#damaged(`refers to memo ${index}, which was never set`);
    return this.#push(value);
  }

  /** Nothing below the latest mark can be taken from the stack. */
  #floor(): number {
    return this.#marks.at(-1) ?? 0;
  }

  #underflow(): never {
    this.#damaged('takes more values than it has put on its stack');
  }

  #top(): PickleValue {
    const value = this.#stack.length > this.#floor() ? this.#stack.at(-1) : undefined;
    return value === undefined ? this.#underflow() : value;
  }

  #pop(): PickleValue {
    const value = this.#stack.length > this.#floor() ? this.#stack.pop() : undefined;
    return value === undefined ? this.#underflow() : value;
  }

  #popMany(count: number): PickleValue[] {
    if (this.#stack.length - count < this.#floor()) this.#underflow();
    return this.#stack.splice(this.#stack.length - count, count);
  }

  #popMark(): PickleValue[] {
    const mark = this.#marks.pop();
    if (mark === undefined) this.#damaged('closes a group that it never opened');
    return this.#stack.splice(mark);
  }

  #uint64(): number {
    return Number(this.reader.take(8).readBigUInt64LE(0));
  }

  /** Little-endian two's complement. */
  #integer(length: number): PickleScalar {
    if (length > LONGEST_INTEGER) this.#refuse(`has an integer of ${counted(length, 'byte')}`);
    if (length === 0) return 0;
    const bytes = Buffer.from(this.reader.take(length)).reverse();
    const value = BigInt.asIntN(8 * length, BigInt(`0x${bytes.toString('hex')}`));
    this.budget.spend(COST.string + length);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  #text(length: number): PickleValue {
    if (length > LONGEST_TEXT) return this.#skip(length, 'text');
    this.budget.spend(COST.string + 2 * length);
    return this.reader.text(length);
  }

  #bytes(length: number): PickleValue {
    if (length > LONGEST_TEXT) return this.#skip(length, 'bytes');
    this.budget.spend(COST.bytes + length);
    return Uint8Array.from(this.reader.take(length));
  }

  /** Elements of NumPy arrays and the like: no weight is read from them. */
  #skip(length: number, what: string): PickleValue {
    this.budget.spend(COST.map);
    this.reader.skip(length);
    return { kind: 'opaque', name: `${what} of ${counted(length, 'byte')}` };
  }
}
