// Preloaded into Node where the program sees no NVIDIA driver although there is one: the rest can be tried all the same.
const fs = require('node:fs');
const { existsSync } = fs;
fs.existsSync = (path) => path === '/usr/lib/wsl/lib/libcuda.so.1' || existsSync(path);
require('node:module').syncBuiltinESMExports();
