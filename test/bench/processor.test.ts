// Which processor a figure was measured on, from the text of /proc/cpuinfo.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readProcessor } from '#blip/bench/processor.js';

const info = (vendor: string, family: number, model: number, name: string, flags: string) =>
  [
    'processor\t: 0',
    `vendor_id\t: ${vendor}`,
    `cpu family\t: ${family}`,
    `model\t\t: ${model}`,
    `model name\t: ${name}`,
    `flags\t\t: fpu ${flags}`,
    'bugs\t\t: none',
  ].join('\n');

for (const [text, expected] of [
  [
    info('AuthenticAMD', 25, 17, 'AMD EPYC', 'avx2 avx512f avx512_bf16'),
    { name: 'AMD EPYC (Zen 4)', vectors: 'AVX-512, bf16', fullWidth: false, bf16: true },
  ],
  [
    info('AuthenticAMD', 26, 2, 'AMD EPYC', 'avx2 avx512f avx512_bf16'),
    { name: 'AMD EPYC (Zen 5)', vectors: 'AVX-512, bf16', fullWidth: true, bf16: true },
  ],
  [
    info('GenuineIntel', 6, 143, 'Intel(R) Xeon(R) Processor', 'avx2 avx512f avx512_bf16 amx_bf16'),
    {
      name: 'Intel(R) Xeon(R) Processor (Sapphire Rapids)',
      vectors: 'AVX-512, bf16, AMX',
      fullWidth: true,
      bf16: true,
    },
  ],
  [
    info('AuthenticAMD', 25, 1, 'AMD EPYC 7763', 'avx2'),
    { name: 'AMD EPYC 7763 (Zen 3)', vectors: 'AVX2', fullWidth: false, bf16: false },
  ],
  [info('Other', 1, 1, 'a new one', ''), { name: 'a new one', vectors: 'no AVX2', fullWidth: false, bf16: false }],
] as const)
  test(expected.name, () => assert.deepEqual(readProcessor(text), expected));

test('without /proc/cpuinfo there is a name', () => assert.ok(readProcessor('').name.length > 0));
