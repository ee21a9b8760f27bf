// The flags of `serve`.
import { flag, whole } from '../config/flag.js';
import { type Precision, precisions } from '../torch/precision.js';

export const serveFlags = {
  host: flag('<address>', 'where to listen; 0.0.0.0 is every network of this machine', '127.0.0.1'),
  port: flag('<number>', 'port to listen on; 0 is a free one', 8080, portNumber),
  token: flag<string | undefined>('<text>', 'what clients must send (default: BLIP_TOKEN)', undefined),
  allowed_host: flag<string[]>('<name>', 'another name that the server is asked under; may be repeated', []),
  checkpoint: flag<string | undefined>('<source>', 'the model (default: the one that the index names)', undefined),
  device: flag<string | undefined>('<device>', 'cpu, cuda or cuda:N (default: a GPU where there is one)', undefined),
  precision: flag<Precision>('<name>', 'fp32, tf32 or bf16', 'fp32', precisions),
  max_body: flag('<MiB>', 'largest body of a request', 16, whole(1)),
  max_batch: flag('<number>', 'most texts or images of a request', 32, whole(1)),
  max_pixels: flag('<number>', 'largest width times height of an image', 64_000_000, whole(1)),
  queue: flag('<number>', 'requests that may compute or wait; beyond, 429', 64, whole(1)),
  timeout: flag('<seconds>', 'how long a request may take', 60, whole(2)),
  verbose: flag('', 'print a line a request', false),
};

function portNumber(text: string): number {
  const port = whole(0)(text);
  if (port <= 65_535) return port;
  throw new RangeError('Expected a port from 0 to 65535.');
}
