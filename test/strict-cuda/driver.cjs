// Preloaded into Node: setup/driver.ts sees an NVIDIA driver, so that load.ts opens libtorch_cuda.so.
const fs = require('node:fs');
const { existsSync } = fs;
fs.existsSync = (path) => path === '/usr/lib/wsl/lib/libcuda.so.1' || existsSync(path);
require('node:module').syncBuiltinESMExports();
