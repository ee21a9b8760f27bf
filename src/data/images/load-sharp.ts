// Loading sharp, which decodes images in native code, with a sentence where it does not load.
import { messageOf } from '../../errors.js';

/** sharp says on many lines why it does not load; the first is the reason. @throws Error with a sentence */
export async function loadSharp(): Promise<typeof import('sharp')['default']> {
  try {
    return (await import('sharp')).default;
  } catch (error) {
    const [line = ''] = messageOf(error).split('\n');
    throw new Error(
      `The package sharp, which decodes images, does not load (${line.replace(/\.$/, '')}). Install it again with "npm ci".`,
    );
  }
}
