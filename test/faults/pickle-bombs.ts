// Pickles of some megabytes that try to take as much memory as they can.
import { opcodes, uint32, word } from '../helpers/checkpoint-files.js';

// The opcodes by their names in Python's pickletools; `word` is BINUNICODE.
const PROTO2 = '\x80\x02';
const PROTO4 = '\x80\x04';
const STOP = '.';
const NONE = 'N';
const EMPTY_LIST = ']';
const EMPTY_DICT = '}';
const EMPTY_TUPLE = ')';
const MARK = '(';
const TUPLE = 't'; // of everything since the mark
const TUPLE1 = '\x85';
const TUPLE2 = '\x86';
const APPENDS = 'e'; // everything since the mark, to the list below it
const SETITEM = 's';
const SETITEMS = 'u';
const POP = '0';
const MEMOIZE = '\x94';
const REDUCE = 'R'; // calls a global with a tuple of arguments
const BINPERSID = 'Q'; // a storage
const int1 = (value: number) => `K${String.fromCharCode(value)}`;
const put = (index: number) => `q${String.fromCharCode(index)}`;
const get = (index: number) => `h${String.fromCharCode(index)}`;
const global = (module: string, name: string) => `c${module}\n${name}\n`;

/** A list of what `items` pushes. */
const listOf = (items: string) => opcodes(PROTO2, EMPTY_LIST, MARK, items, APPENDS, STOP);

export const bombs: Record<string, () => Buffer> = {
  // ---- many small values
  lists: () => opcodes(PROTO2, EMPTY_LIST.repeat(4_000_000), STOP),
  dicts: () => opcodes(PROTO2, EMPTY_DICT.repeat(4_000_000), STOP),
  tuples: () => opcodes(PROTO2, NONE, TUPLE1.repeat(4_000_000), STOP),
  marks: () => opcodes(PROTO2, MARK.repeat(8_000_000), STOP),
  nones: () => listOf(NONE.repeat(8_000_000)),
  floats: () => listOf('G\x3f\xf1\x23\x45\x67\x89\xab\xcd'.repeat(1_000_000)),
  memo: () => opcodes(PROTO4, NONE, MEMOIZE.repeat(8_000_000), STOP),
  globals: () => opcodes(PROTO2, MARK, global('torch', 'Size').repeat(500_000), TUPLE, STOP),
  // ---- objects that are kept as names
  classes: () => {
    const names = Array.from({ length: 300_000 }, (_, i) => global('a.module', `${'Thing'.repeat(20)}${i}`));
    return opcodes(PROTO2, MARK, names.join(''), TUPLE, STOP);
  },
  instances: () => {
    const make = `${global('a', 'Thing')}${put(0)}${POP}`;
    return opcodes(PROTO2, make, MARK, `${get(0)}${EMPTY_TUPLE}${REDUCE}`.repeat(2_000_000), TUPLE, STOP);
  },
  'members of members': () => {
    const member = `${word('Thing').toString('latin1')}${TUPLE2}${REDUCE}`;
    const getattr = global('__builtin__', 'getattr');
    const chain = (depth: number) => `${getattr.repeat(depth)}${global('a', 'Thing')}${member.repeat(depth)}`;
    return opcodes(PROTO2, MARK, chain(60).repeat(2000), TUPLE, STOP);
  },
  'keys that are objects': () => {
    const make = `${global('a', 'Thing')}${put(0)}${POP}`;
    return opcodes(PROTO2, make, EMPTY_DICT, `${get(0)}${NONE}${SETITEM}`.repeat(1_000_000), STOP);
  },
  // ---- texts
  text: () => opcodes(PROTO2, word('x'.repeat(6_000_000)), STOP),
  'wide text': () => opcodes(PROTO2, word('日'.repeat(6_000_000)), STOP),
  words: () => listOf('X\x01\x00\x00\x00\xff'.repeat(1_000_000)),
  // ---- one large value that is copied or named many times
  'keys of tuples': () => {
    const large = opcodes(word('k'.repeat(1_000_000)), put(0), POP);
    const item = get(0) + get(0) + TUPLE2 + NONE + SETITEM;
    return opcodes(PROTO2, large, EMPTY_DICT, item.repeat(10_000), STOP);
  },
  'copies of a list': () => {
    const large = opcodes(EMPTY_LIST, MARK, NONE.repeat(200_000), APPENDS, put(0), POP);
    const copy = global('__builtin__', 'set') + get(0) + TUPLE1 + REDUCE;
    return opcodes(PROTO2, large, MARK, copy.repeat(10_000), TUPLE, STOP);
  },
  'copies of a dict': () => {
    const items = Array.from({ length: 50_000 }, (_, i) => opcodes('J', uint32(i), NONE));
    const large = opcodes(EMPTY_DICT, MARK, ...items, SETITEMS, put(0), POP);
    const copy = global('collections', 'OrderedDict') + get(0) + TUPLE1 + REDUCE;
    return opcodes(PROTO2, large, MARK, copy.repeat(10_000), TUPLE, STOP);
  },
  'copies of bytes': () => {
    const large = opcodes(word('b'.repeat(500_000)), put(0), POP);
    const encoding = opcodes(word('latin1'), put(1), POP);
    const copy = global('_codecs', 'encode') + get(0) + get(1) + TUPLE2 + REDUCE;
    return opcodes(PROTO2, large, encoding, MARK, copy.repeat(10_000), TUPLE, STOP);
  },
  // ---- structures that are small as they are and large when they are walked
  'shared lists': () => {
    const list = (i: number) => opcodes(EMPTY_LIST, MARK, get(i).repeat(10), APPENDS, put(i + 1), POP); // ten times the list before
    const lists = Array.from({ length: 100 }, (_, i) => list(i));
    return opcodes(PROTO2, int1(1), put(0), POP, ...lists, get(100), STOP);
  },
  'long paths': () => {
    const key = word('p'.repeat(5000));
    const dict = opcodes(EMPTY_DICT, MARK, key, get(0), int1(1), get(0), SETITEMS, put(0), POP); // holds the one before
    return opcodes(PROTO2, NONE, put(0), POP, ...Array.from({ length: 900 }, () => dict), get(0), STOP);
  },
  tensors: () => {
    const rebuild = opcodes(global('torch._utils', '_rebuild_tensor_v2'), put(0));
    const storage = opcodes(MARK, word('storage'), global('torch', 'ByteStorage'), word('0'), word('cpu'), int1(4));
    const rest = int1(0) + EMPTY_TUPLE + EMPTY_TUPLE + EMPTY_TUPLE + NONE;
    const args = opcodes(MARK, storage, TUPLE, BINPERSID, put(1), rest, TUPLE, put(2));
    const tensor = get(0) + get(2) + REDUCE;
    return opcodes(PROTO2, EMPTY_LIST, MARK, rebuild, args, tensor.repeat(500_000), APPENDS, STOP);
  },
};
