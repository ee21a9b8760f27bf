// A program that is nothing but the launcher, for tests: its argument is the launch options as JSON.
import { type LaunchOptions, launch } from '#blip/distributed/launcher.js';

const options: LaunchOptions = JSON.parse(process.argv[2] ?? '');
process.exitCode = await launch(options);
