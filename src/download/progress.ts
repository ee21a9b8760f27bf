// What a download says while it goes on.
import { formatBytes } from '../disk/space.js';

/** Below, a file is there before anybody has read a line. */
const WORTH_LINES = 1_000_000;

/**
 * For `onProgress`: a line with what is downloaded and where to, once bytes are known to come, then one at each tenth.
 * @param inner is called too
 */
export function progressLines(
  print: (line: string) => void,
  what: string,
  path: string,
  inner?: (received: number, total: number | undefined) => void,
): (received: number, total: number | undefined) => void {
  let isTold = false;
  const tenths = tenthLines(print);
  return (received, total) => {
    if (!isTold) print(`Downloading ${what}${total === undefined ? '' : ` (${formatBytes(total)})`} to ${path}`);
    isTold = true;
    if (total !== undefined && total >= WORTH_LINES) tenths(received, total);
    inner?.(received, total);
  };
}

/** For `onProgress`: a line at each tenth, where the size is known. */
export function tenthLines(print: (line: string) => void): (received: number, total: number | undefined) => void {
  let shown = 0;
  return (received, total) => {
    if (total === undefined) return;
    const tenth = Math.floor((received / total) * 10);
    if (tenth > shown && tenth < 10) print(`  ${tenth * 10} % of ${formatBytes(total)}`);
    shown = Math.max(shown, tenth);
  };
}
