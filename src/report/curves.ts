// Curves of training, of one run or of several over each other: recalls by epoch, losses, rates.
import type { LoggedStep } from '../training/run-logs.js';
import { type LineChart, lineChart, type Series } from './line-chart.js';
import type { EpochLine, RunFiles } from './run-files.js';

/** Points of a line, and of all lines of a chart; more are thinned out. */
const MOST_POINTS = 400;
const MOST_OF_CHART = 4000;

/** Titles and names of the losses' charts, and their keys in metrics.jsonl, in log.txt behind `train_`. */
const LOSSES = [
  ['Contrastive loss (ITA)', 'ITA', 'loss_ita'],
  ['Matching loss (ITM)', 'ITM', 'loss_itm'],
] as const;

/** The charts, one after the other; empty where no run was trained. */
export function runCurves(runs: readonly RunFiles[]): string {
  const several = runs.length > 1;
  const named = (run: RunFiles, name: string) => (several ? run.name : name);
  const most = Math.max(20, Math.min(MOST_POINTS, Math.floor(MOST_OF_CHART / runs.length)));
  const byEpoch = (of: (line: EpochLine) => number, name: string): Series[] =>
    runs.map((run) => ({
      name: named(run, name),
      points: thinned(
        run.epochs.map((line) => [line.epoch + 1, of(line)] as const),
        most,
      ),
    }));
  /** Where no steps were logged, as by the reference, the means of log.txt. */
  const bySteps = (
    of: (step: LoggedStep) => number | null | undefined,
    name: string,
    mean?: (line: EpochLine) => string | number | undefined,
  ): Series[] =>
    runs.map((run) => {
      const ofEpochs = () => run.epochs.map((line) => [line.epoch + 1, Number(mean?.(line) ?? Number.NaN)] as const);
      const points = run.steps.length > 0 ? pointsOf(run.steps, of) : ofEpochs();
      return { name: named(run, name), points: thinned(points, most) };
    });
  const recall = { xLabel: 'epoch', wholeX: true, yFrom: 0 };
  const step = { xLabel: 'epoch' };
  const plain = (value: number) =>
    Math.abs(value) < 0.01 && value !== 0 ? value.toExponential(1) : value.toPrecision(3);
  const charts: LineChart[] = [
    ...(several
      ? [{ ...recall, title: 'Mean recall on val, %', series: byEpoch((line) => line.val_r_mean, 'mean') }]
      : [
          {
            ...recall,
            title: 'Recall at 1 on val, %',
            series: [...byEpoch((line) => line.val_txt_r1, 'caption'), ...byEpoch((line) => line.val_img_r1, 'image')],
          },
        ]),
    ...LOSSES.map(([title, name, key]) => ({
      ...step,
      title,
      series: bySteps(
        (at) => at[key],
        name,
        (line) => line[`train_${key}`],
      ),
      format: plain,
    })),
    { ...step, title: 'Learning rate', series: bySteps((at) => at.lr, 'lr'), format: plain },
    { ...step, title: 'Temperature', series: bySteps((at) => at.temperature, 'temperature'), format: plain },
    { ...step, title: 'ITM accuracy, %', series: bySteps((at) => percent(at.itm_accuracy), 'accuracy') },
    { ...step, title: 'Gradient norm', series: bySteps((at) => at.grad_norm, 'norm'), format: plain },
    {
      ...step,
      title: 'Images a second',
      series: bySteps((at) => at.images_per_second, 'images/s'),
      format: plain,
      yFrom: 0,
    },
    {
      ...step,
      title: 'Waiting for data, seconds a step',
      series: bySteps((at) => at.data_wait, 'wait'),
      format: plain,
      yFrom: 0,
    },
  ];
  return charts.flatMap((chart) => lineChart(chart) ?? []).join('\n');
}

const percent = (share: number | undefined) => (share === undefined ? undefined : 100 * share);

/** Values over epochs: a step's place is the part of its epoch that was done before it. */
function pointsOf(
  steps: readonly LoggedStep[],
  of: (step: LoggedStep) => number | null | undefined,
): (readonly [number, number])[] {
  const perEpoch = steps.reduce((most, { step }) => Math.max(most, step + 1), 1);
  return steps.flatMap((each) => {
    const value = of(each);
    return value === undefined || value === null ? [] : [[each.epoch + each.step / perEpoch, value] as const];
  });
}

/** Means of neighbours where there are more points than a screen shows. */
function thinned(points: readonly (readonly [number, number])[], most: number): (readonly [number, number])[] {
  const size = Math.ceil(points.length / most);
  if (size <= 1) return [...points];
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const own = points.slice(i * size, (i + 1) * size);
    return [mean(own.map(([x]) => x)), mean(own.map(([, y]) => y))] as const;
  });
}
