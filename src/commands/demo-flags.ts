// The flags of `demo`.
import { type FlagValues, flag, whole } from '../config/flag.js';

export const demoFlags = {
  output_dir: flag('<folder>', 'where the data set and the results go', 'output/demo'),
  train_images: flag('<number>', 'images of the train split', 800, whole(10)),
  images: flag('<number>', 'images of the test split', 100, whole(10)),
  epochs: flag<number | undefined>(
    '<number>',
    "epochs of training (default: the config's; 0 only evaluates)",
    undefined,
    whole(0),
  ),
  seed: flag('<number>', 'seed of the data set and of the weights', 42, whole(0)),
  resume: flag('', 'continue a demo that was interrupted', false),
};

export type DemoFlags = FlagValues<typeof demoFlags>;
