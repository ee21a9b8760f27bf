// Which processor this is, as far as speed depends on it: its generation, and the widest vectors that LibTorch can use.
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';

export interface Processor {
  /** As it calls itself, and its generation where it is a known one. */
  name: string;
  /** For people: `AVX-512, bf16, AMX`. */
  vectors: string;
  /** AVX-512 that does 512 bits a cycle: Zen 4 needs two. */
  fullWidth: boolean;
  /** Matrix products in bfloat16. */
  bf16: boolean;
}

/** Generations by vendor, family and models: names that the processors of clouds (`AMD EPYC`) do not tell. */
const GENERATIONS: readonly [name: string, vendor: RegExp, family: number, first: number, last: number][] = [
  ['Zen 2', /AMD/, 23, 0x30, 0xff],
  ['Zen 4', /AMD/, 25, 0x10, 0x1f],
  ['Zen 4', /AMD/, 25, 0x60, 0xaf],
  ['Zen 3', /AMD/, 25, 0, 0xff],
  ['Zen 5', /AMD/, 26, 0, 0xff],
  ['Skylake or Cascade Lake', /Intel/, 6, 85, 85],
  ['Ice Lake', /Intel/, 6, 106, 108],
  ['Sapphire Rapids', /Intel/, 6, 143, 143],
  ['Emerald Rapids', /Intel/, 6, 207, 207],
  ['Granite Rapids', /Intel/, 6, 173, 174],
];

const systemInfo = () => {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return ''; // as where there is no Linux: then only the name is known
  }
};

/** @param info the text of /proc/cpuinfo */
export function readProcessor(info = systemInfo()): Processor {
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(info)?.[1]?.trim() ?? '';
  const [vendor, family, model] = [field('vendor_id'), Number(field('cpu family')), Number(field('model'))];
  const generation = GENERATIONS.find(
    ([, by, ofFamily, first, last]) => by.test(vendor) && family === ofFamily && model >= first && model <= last,
  )?.[0];
  const named = field('model name') || (cpus()[0]?.model.trim() ?? 'unknown');
  const flags = new Set(field('flags').split(' '));
  const known: [label: string, flag: string][] = [
    ['AVX-512', 'avx512f'],
    ['bf16', 'avx512_bf16'],
    ['AMX', 'amx_bf16'],
  ];
  const has = known.filter(([, flag]) => flags.has(flag)).map(([label]) => label);
  return {
    name: generation === undefined ? named : `${named} (${generation})`,
    vectors: has.length > 0 ? has.join(', ') : flags.has('avx2') ? 'AVX2' : 'no AVX2',
    fullWidth: flags.has('avx512f') && generation !== 'Zen 4',
    bf16: flags.has('avx512_bf16') || flags.has('amx_bf16'),
  };
}
