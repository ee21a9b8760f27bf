// The parts of the first run, in their order: what tells most comes first. Each has a limit of its own in seconds, returns
// the note of its line in the summary, and throws a PartEnd where it fails or does not apply.
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import {
  demand,
  failed,
  failedTests,
  helper,
  jsonLines,
  lastLine,
  PartEnd,
  root,
  skipped,
  telling,
} from './context.mjs';
import { ncclAlone, oneRankTooMany, severalGpus } from './ranks.mjs';
import { evaluateEach, resumeExactly, sigterm, trainBf16 } from './runs.mjs';
import { benchBase, benchReference, benchScaling, countWaits, wholeEvaluation } from './speed.mjs';

async function machine(context) {
  const python =
    'import torch; print("torch", torch.__version__, "GPUs", torch.cuda.device_count(), "NCCL", torch.cuda.nccl.version() if torch.cuda.is_available() else None, "cuDNN", torch.backends.cudnn.version())';
  const script = `
    nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader; cat /proc/driver/nvidia/version
    ldconfig -p | grep libcuda.so.1; ls -l /dev/nvidia* /usr/local/nvidia/lib64/libcuda.so* 2>/dev/null; echo "LD_LIBRARY_PATH=\${LD_LIBRARY_PATH:-}"
    uname -srm; nproc; free -g | head -2; df -h /tmp | tail -1; python3 -c '${python}'`;
  const { text } = await context.run('machine', 'bash', ['-c', script]);
  const [gpu = 'no GPU by nvidia-smi', driver] = /^(.+), ([\d.]+), \d+ MiB/m.exec(text)?.slice(1) ?? [];
  const torch = /^torch (\S+)/m.exec(text)?.[1];
  context.found.machine = [gpu, driver && `driver ${driver}`, torch && `torch ${torch}`].filter(Boolean).join(', ');
  const code = `import('${join(root, 'dist/libtorch/driver.js')}').then((m) => { const seen = m.nvidiaDriver(); console.log(JSON.stringify(seen ?? null)); process.exit(seen ? 0 : 1); })`;
  const driverSeen = await context.node('machine, driver', ['-e', code]);
  await context.node('machine, doctor', ['dist/cli.js', 'doctor']);
  if (driverSeen.code === 0) return `the program sees the driver: ${jsonLines(driverSeen.text)[0]?.seen}`;
  context.env.NODE_OPTIONS = `${context.env.NODE_OPTIONS ?? ''} --require ${helper('driver.cjs')}`.trim();
  throw failed(
    'the program sees no NVIDIA driver (finding 9); the parts after this one run with driver.cjs, which pretends that it does',
  );
}

async function probe(context) {
  const result = await context.node('probe', [helper('probe.mjs'), ...(context.small ? ['--small'] : [])]);
  const lines = jsonLines(result.text);
  for (const { name, error, value, ...more } of lines)
    if (error === undefined) context.figure(name, value, more);
    else context.figure(name, `FAILED: ${error}`, { ok: false });
  const gpus = lines.find(({ name }) => name === 'GPUs')?.value;
  context.found.gpus = gpus ?? 0;
  if (result.timedOut || result.code !== 0) throw failed(lastLine(result));
  const missed = context.figures.filter(({ ok }) => ok === false).length;
  return missed === 0 ? `${lines.length} figures as expected` : `${missed} of ${lines.length} figures not as expected`;
}

async function tests(context) {
  const folder = join(root, '.build/test/gpu');
  // Most of their time goes into making weights on the processor.
  const together = Math.max(1, Math.min(4, availableParallelism() >> 2));
  const files = readdirSync(folder).filter((name) => name.endsWith('.gpu-test.js'));
  const args = [
    '--test',
    `--test-concurrency=${together}`,
    '--test-reporter=tap',
    ...files.map((name) => join(folder, name)),
  ];
  const result = await context.node('tests', args, { env: { OMP_NUM_THREADS: '2' } });
  const count = (what) => Number(new RegExp(`^# ${what} (\\d+)`, 'm').exec(result.text)?.[1] ?? 0);
  const names = failedTests(result.text);
  if (result.timedOut)
    throw failed(`its time was up after ${(result.text.match(/^\s*ok \d+/gm) ?? []).length} passed tests`);
  if (names.length > 0) throw failed(`${names.length} of ${count('tests')} tests: ${names.join('; ')}`);
  if (result.code !== 0) throw failed(lastLine(result));
  if (count('skipped') > 0 || count('pass') === 0)
    throw failed(`${count('skipped')} of ${count('tests')} tests were skipped`);
  return `${count('pass')} tests pass`;
}

async function memcheck(context) {
  const places = [...(process.env.PATH ?? '').split(':'), '/usr/local/cuda/bin', '/usr/local/cuda/compute-sanitizer'];
  const program = places.map((place) => join(place, 'compute-sanitizer')).find((path) => existsSync(path));
  if (program === undefined) throw skipped('there is no compute-sanitizer here');
  const test = join(root, '.build/test/gpu/evaluation.gpu-test.js');
  const node = [process.execPath, '--test-name-pattern=variable-length', test]; // without --test: one process
  const result = await context.run('memcheck', program, ['--tool', 'memcheck', '--print-limit', '5', ...node]);
  const errors = /ERROR SUMMARY: (\d+) error/.exec(result.text)?.[1];
  if (result.timedOut) throw new PartEnd('skipped', 'its time was up');
  if (errors === undefined)
    throw new PartEnd('skipped', `it does not run here: ${telling(result.text).at(-1)?.slice(0, 120)}`);
  if (Number(errors) > 0) throw failed(`${errors} errors in the variable-length attention`);
  return demand(result, 'the tests under it') && 'no bad access in the variable-length attention';
}

/** `needed`: nothing after it can work where it fails. */
export const parts = [
  { name: 'machine', seconds: 60, run: machine, about: 'GPU, driver, PyTorch; whether the program sees the driver' },
  { name: 'probe', seconds: 90, run: probe, needed: true, about: 'loading, kernels, uploads, TF32, memory, the exit' },
  { name: 'tests', seconds: 200, run: tests, about: 'test/gpu: goldens of the reference in fp32, tf32, bf16' },
  {
    name: 'evaluate',
    seconds: 90,
    run: evaluateEach,
    about: 'the tiny model: recalls and scores of the CPU and of each precision',
  },
  {
    name: 'bench',
    seconds: 150,
    run: benchBase,
    about: 'base size: re-ranked pairs a second, a training step; bf16, fp32, tf32',
  },
  { name: 'resume', seconds: 60, run: resumeExactly, about: 'training, stopped and resumed' },
  { name: 'bf16', seconds: 40, run: trainBf16, about: 'an epoch of training in bf16' },
  { name: 'waits', seconds: 40, run: countWaits, about: 'how often the host waits for the GPU, an image and a step' },
  { name: 'sigterm', seconds: 45, run: sigterm, about: 'SIGTERM in training saves and exits 143' },
  { name: 'ranks', seconds: 45, run: oneRankTooMany, about: 'one rank more than there are GPUs: a sentence' },
  { name: 'nccl', seconds: 45, run: ncclAlone, about: 'a process group of NCCL with one rank' },
  {
    name: 'several',
    seconds: 120,
    run: severalGpus,
    about: 'all GPUs of the machine, and the end when a rank is killed',
  },
  {
    name: 'whole',
    seconds: 400,
    run: wholeEvaluation,
    about: '5,000 images, 25,010 captions, base size, k 256; as time allows',
  },
  { name: 'reference', seconds: 200, run: benchReference, about: 'the same speeds beside salesforce/BLIP in one run' },
  { name: 'scaling', seconds: 120, run: benchScaling, about: 'how time grows with images and k, bf16' },
  {
    name: 'memcheck',
    seconds: 120,
    run: memcheck,
    about: "compute-sanitizer's memcheck on the variable-length attention",
  },
];
