"""Writes operators.inc from native_functions.yaml of a torch of the version in question (its torchgen has the file):
  python test/strict-cuda/operators.py > test/strict-cuda/operators.inc
kNoCheck: operators without generated device checks, which take 0-dim tensors of the CPU. kOverComposite: operators that
have a CUDA kernel beside a composite one, so that a fallback is not asked for them; those in `own` are written by hand."""
import os

import torchgen
import yaml

own = {'copy_', 'resize_', 'empty.memory_format', 'empty_strided', 'as_strided', 'view', '_reshape_alias',
       'native_dropout', '_to_copy', 'convolution', 'convolution_backward'}


def name(function):
    return function['func'].split('(')[0]


def is_over_composite(function):
    keys = [key.strip() for group in function.get('dispatch', {}) for key in group.split(',')]
    composite = any(key.startswith('Composite') for key in keys)
    return 'CUDA' in keys and composite and name(function) not in own and 'structured_delegate' not in function


with open(os.path.join(os.path.dirname(torchgen.__file__), 'packaged/ATen/native/native_functions.yaml')) as file:
    functions = yaml.safe_load(file)
for title, names in [('kNoCheck', ['aten::' + name(f) for f in functions if f.get('device_check') == 'NoCheck']),
                     ('kOverComposite', [name(f) for f in functions if is_over_composite(f)])]:
    print(f'const char* const {title}[] = {{')
    for each in names:
        print(f'  "{each}",')
    print('};')
