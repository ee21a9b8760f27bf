// What /metrics says, in Prometheus' text format.
import { monitorEventLoopDelay } from 'node:perf_hooks';

const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]; // seconds

interface Histogram {
  readonly counts: number[];
  sum: number;
  count: number;
}

export interface Gauge {
  name: string;
  help: string;
  value: number;
}

export class Metrics {
  readonly #requests = new Map<string, number>();
  readonly #durations = new Map<string, Histogram>();
  readonly #delay = monitorEventLoopDelay({ resolution: 10 });
  readonly #started = Date.now() / 1000;

  constructor() {
    this.#delay.enable();
  }

  /** `route` is one of the server's own, never what a client sent: there would be no end of them. */
  count(route: string, status: number, seconds: number): void {
    const key = `route="${route}",status="${status}"`;
    const before = this.#requests.get(key);
    this.#requests.set(key, before === undefined ? 1 : before + 1);
    const found = this.#durations.get(route);
    const histogram = found ?? { counts: BUCKETS.map(() => 0), sum: 0, count: 0 };
    if (found === undefined) this.#durations.set(route, histogram);
    for (const [i, most] of BUCKETS.entries())
      if (seconds <= most) histogram.counts[i] = (histogram.counts[i] ?? 0) + 1;
    histogram.sum += seconds;
    histogram.count += 1;
  }

  text(gauges: readonly Gauge[]): string {
    const lines = [
      '# HELP blip_http_requests_total Requests that were answered.',
      '# TYPE blip_http_requests_total counter',
    ];
    for (const [labels, count] of this.#requests) lines.push(`blip_http_requests_total{${labels}} ${count}`);
    const name = 'blip_http_request_duration_seconds';
    lines.push(`# HELP ${name} From a request's headers to the end of its answer.`, `# TYPE ${name} histogram`);
    for (const [route, { counts, sum, count }] of this.#durations) {
      for (const [i, most] of BUCKETS.entries())
        lines.push(`${name}_bucket{route="${route}",le="${most}"} ${counts[i]}`);
      lines.push(`${name}_bucket{route="${route}",le="+Inf"} ${count}`);
      lines.push(`${name}_sum{route="${route}"} ${sum}`, `${name}_count{route="${route}"} ${count}`);
    }
    const own: Gauge[] = [
      {
        name: 'blip_event_loop_delay_p99_seconds',
        help: 'How late timers came, 99th percentile since the last reading.',
        value: this.#delay.count === 0 ? 0 : this.#delay.percentile(99) / 1e9,
      },
      { name: 'process_resident_memory_bytes', help: 'Memory of the process.', value: process.memoryUsage.rss() },
      { name: 'process_start_time_seconds', help: 'When the server started, since 1970.', value: this.#started },
    ];
    this.#delay.reset();
    for (const { name, help, value } of [...gauges, ...own])
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, `${name} ${value}`);
    return `${lines.join('\n')}\n`;
  }

  close(): void {
    this.#delay.disable();
  }
}
