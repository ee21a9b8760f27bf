// report.html of the demo: recalls before and after training, the losses by step, and the command.
import { join } from 'node:path';
import { writeFileAtomically } from '../disk/atomic-file.js';
import type { SplitReport } from '../evaluation/report.js';
import { axisFor, chart } from '../logging/chart.js';
import { escapeHtml } from '../logging/text.js';
import { type LoggedStep, loggedSteps } from '../training/run-logs.js';

export interface DemoReport {
  before: SplitReport;
  after: SplitReport;
  /** Minutes that the demo took. */
  minutes: number;
  command: string;
}

/** The two losses over logged steps, each a line from 0 up. */
function lossCurve(steps: readonly LoggedStep[]): string {
  const losses = steps.flatMap(({ loss_ita, loss_itm }) => [loss_ita, loss_itm]);
  const epochs = steps.flatMap(({ step, epoch }, i) => (step === 0 ? [[i, String(epoch)] as const] : []));
  const y = axisFor('loss', losses);
  const x = { label: 'epoch', top: Math.max(1, steps.length - 1), ticks: epochs };
  const [width, height] = [640, 260];
  const lines = chart({ width, height, x, y }, (px, py) => {
    const line = (name: 'loss_ita' | 'loss_itm', colour: string) => {
      const points = steps.map((step, i) => `${px(i)},${py(step[name])}`).join(' ');
      return `<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="2"/>`;
    };
    const grid = y.ticks.map(([loss]) => `<path d="M${px(0)} ${py(loss)}H${px(x.top)}" stroke="#ddd"/>`);
    return [...grid, line('loss_ita', '#2a6fb0'), line('loss_itm', '#c2571a')];
  });
  return `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="losses by epoch">
${lines}
<text x="${width - 150}" y="28" fill="#2a6fb0">contrastive (ITA)</text><text x="${width - 150}" y="46" fill="#c2571a">matching (ITM)</text></svg>`;
}

function recallRows({ before, after }: DemoReport): string {
  const row = (name: string, chance: number, from: number, to: number) =>
    `<tr><th scope="row">${name}</th><td>${chance.toFixed(1)}</td><td>${from.toFixed(1)}</td><td><b>${to.toFixed(1)}</b></td></tr>`;
  const [a, b] = [before.metrics, after.metrics];
  const [text, image] = [after.chance.text, after.chance.image];
  return [
    row('text R@1', text[0], a.txt_r1, b.txt_r1),
    row('text R@5', text[1], a.txt_r5, b.txt_r5),
    row('text R@10', text[2], a.txt_r10, b.txt_r10),
    row('image R@1', image[0], a.img_r1, b.img_r1),
    row('image R@5', image[1], a.img_r5, b.img_r5),
    row('image R@10', image[2], a.img_r10, b.img_r10),
  ].join('\n');
}

/** Writes report.html into the output folder, a page that needs no other file; gives its path. */
export async function writeDemoReport(outputDir: string, report: DemoReport): Promise<string> {
  const { after, minutes, command } = report;
  const html = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>blip-retrieval demo</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse}
th,td{padding:.3rem .9rem;border-bottom:1px solid #ddd;text-align:right}th[scope=row]{text-align:left}svg{max-width:100%;height:auto;font:12px sans-serif}
code{background:#f3f3f3;padding:.1rem .3rem}</style>
<h1>A small BLIP, trained on drawn scenes</h1>
<p>A model of three layers was trained from random weights on pictures of two coloured shapes with five captions each, then asked to find, among
${after.images} new pictures and ${after.texts} captions, the caption of a picture and the picture of a caption. It took ${minutes.toFixed(1)} minutes.</p>
<h2>Recall on the test split, in percent</h2>
<table><tr><th scope="row"></th><th>chance</th><th>before</th><th>after</th></tr>
${recallRows(report)}</table>
<h2>Losses</h2>
${lossCurve(loggedSteps(outputDir))}
<p>To repeat this: <code>${escapeHtml(command)}</code>. The checkpoint is <code>checkpoint_best.pth</code>, which Python's torch.load reads as well.</p></html>
`;
  const path = join(outputDir, 'report.html');
  await writeFileAtomically(path, (file) => file.write(new TextEncoder().encode(html)));
  return path;
}
