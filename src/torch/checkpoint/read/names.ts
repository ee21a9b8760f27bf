// Which names a pickle may mention. A name that this program has no use for stands for an object beside the weights: it is
// kept as that name. Names by which a pickle would do something to the machine are refused, though nothing here is run.
import { quote } from './zip.js';

/** Top-level modules of Python's standard library: what of them is data is listed below. */
const STANDARD = new Set(
  `__future__ abc aifc antigravity argparse array ast asynchat asyncio asyncore atexit audioop base64 bdb binascii bisect
  builtins bz2 cProfile calendar cgi cgitb chunk cmath cmd code codecs codeop collections colorsys compileall compression
  concurrent configparser contextlib contextvars copy copyreg crypt csv ctypes curses dataclasses datetime dbm decimal
  difflib dis distutils doctest email encodings ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch fractions
  ftplib functools gc genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html http idlelib imaplib
  imghdr imp importlib inspect io ipaddress itertools json keyword lib2to3 linecache locale logging lzma mailbox mailcap
  marshal math mimetypes mmap modulefinder msilib msvcrt multiprocessing netrc nis nntplib nt ntpath nturl2path numbers
  opcode operator optparse os ossaudiodev pathlib pdb pickle pickletools pipes pkgutil platform plistlib poplib posix
  posixpath pprint profile pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat queue quopri random re readline reprlib
  resource rlcompleter runpy sched secrets select selectors shelve shlex shutil signal site smtpd smtplib sndhdr socket
  socketserver spwd sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string stringprep struct subprocess
  sunau symtable sys sysconfig syslog tabnanny tarfile telnetlib tempfile termios textwrap this threading time timeit
  tkinter token tokenize tomllib trace traceback tracemalloc tty turtle turtledemo types typing unicodedata unittest urllib
  uu uuid venv warnings wave weakref webbrowser winreg winsound wsgiref xdrlib xml xmlrpc zipapp zipfile zipimport zlib
  zoneinfo commands popen2 UserDict UserList UserString`.split(/\s+/),
);

/** Objects of the standard library that are data, as training scripts leave them beside the weights. */
const STANDARD_DATA = [
  /^builtins\.(?:object|set|frozenset|list|dict|tuple|str|unicode|int|long|float|bool|bytes|bytearray|complex|slice|range|xrange|type|property|Ellipsis|NotImplemented|\w+(?:Error|Exception|Warning)|Exception)$/,
  /^argparse\.Namespace$/,
  /^array\.(?:array|_array_reconstructor)$/,
  /^calendar\.(?:Day|Month)$/,
  /^collections\.(?:OrderedDict|Counter|defaultdict|deque|ChainMap|UserDict|UserList|UserString)$/,
  /^configparser\.[A-Z]\w*$/,
  /^copyreg\.(?:_reconstructor|__newobj__|__newobj_ex__)$/,
  /^dataclasses\.(?:_MISSING_TYPE|_HAS_DEFAULT_FACTORY_CLASS|Field)$/,
  /^datetime\.(?:datetime|date|time|timedelta|timezone|tzinfo)$/,
  /^decimal\.(?:Decimal|Context)$/,
  /^enum\.[A-Z]\w*$/,
  /^fractions\.Fraction$/,
  /^functools\.partial$/,
  /^ipaddress\.IPv[46](?:Address|Network|Interface)$/,
  /^itertools\.(?:count|cycle|repeat)$/,
  /^logging\.(?:getLogger|Logger|RootLogger)$/,
  /^operator\.(?:itemgetter|add|sub|mul|truediv|gt|lt|ge|le|eq|ne)$/,
  /^pathlib\.(?:_local\.)?(?:Pure)?(?:Posix|Windows)?Path$/,
  /^random\.Random$/,
  /^re\.(?:_compile|compile|RegexFlag|Pattern)$/,
  /^string\.Template$/,
  /^time\.struct_time$/,
  /^types\.(?:SimpleNamespace|MappingProxyType|GenericAlias|NoneType)$/,
  /^typing\.\w+$/,
  /^uuid\.(?:UUID|SafeUUID)$/,
  /^zoneinfo\.ZoneInfo(?:\._unpickle)?$/,
];

/** Of PyTorch and NumPy: classes by their capital letter, and these. */
const LIBRARY_DATA = [
  /^torch\.nn\.(?:functional|init)\.\w+$/,
  /^torch\._C\._nn\.\w+$/,
  /^torch\.(?:device|dtype|layout|memory_format|iinfo|finfo|qscheme|relu|tanh|sigmoid|gelu|softmax|strided|sparse_coo)$/,
  /^torch\.(?:_utils\.torch\.)?(?:contiguous_format|channels_last|channels_last_3d|preserve_format|per_\w+)$/,
  /^torch\.(?:u?int\d+|float\w+|bfloat16|complex\w+|bool|double|half|long|short|bits\w+|q\w+)$/,
  /^torch\.serialization\._get_layout$/,
  /^torch\..*\._refresh_per_optimizer_state$/,
  /^numpy\.(?:\w+\.)*(?:_reconstruct|scalar|_frombuffer|_ufunc_reconstruct|_mareconstruct|\w+_ctor|__\w+_ctor|__pyx_unpickle_\w+|_pickle\.\w+)$/,
  /^numpy\.(?:\w+\.)*(?:ndarray|dtype|generic|number|matrix|recarray|record|memmap|chararray|void|object_|str_|bytes_|bool_?)$/,
  /^numpy\.(?:u?int\w*|float\w*|complex\w*|longdouble|clongdouble|datetime64|timedelta64|half|single|double|u?byte|u?short|u?long|u?longlong|c\w+)$/,
  /^numpy\.(?:core|_core)\._multiarray_umath\.\w+$/,
  /^numpy\.(?:mean|median|sum|prod|min|max|amin|amax|std|var|argmin|argmax|abs|nanmean)$/,
  /^numpy\.(?:flexible|character|inexact|floating|integer|signedinteger|unsignedinteger|complexfloating)$/,
];

/** Libraries whose pickles carry programs, or that exist to run them. */
const PROGRAMS = new Set([
  'dill',
  'cloudpickle',
  'pip',
  'setuptools',
  'pkg_resources',
  'IPython',
  'pexpect',
  'nose',
  'py',
]);

/** Functions, of whatever module, that take a text and run, open or load what it says. */
const EXECUTES =
  /^(?:eval|exec|execfile|compile|system|popen\w*|Popen|spawn\w*|fork\w*|run|runstring|call|check_call|check_output|getoutput|load|loads|load_\w*module\w*|import_module|_*import_*|getattr|setattr|open|unpickle|read_pickle|main|getlincoef)$/;

/** Modules that another one's name must not lead to (`torch.serialization.os.system`). */
const GATEWAYS = new Set([
  'os',
  'posix',
  'nt',
  'sys',
  'subprocess',
  'builtins',
  'importlib',
  'shutil',
  'runpy',
  'ctypes',
  'pty',
]);

/** Whether the name of a function or class, `name` in `module`, stands for data, so that it may be kept as a name. */
export function isData(module: string, name: string): boolean {
  const full = `${module}.${name}`;
  const top = root(full);
  if (!/^[\p{L}\p{N}_]+(?:\.[\p{L}\p{N}_]+)+$/u.test(full)) return false;
  if (STANDARD.has(top) || top.startsWith('_'))
    return top === '__main__' ? isOwn(name) : STANDARD_DATA.some((known) => known.test(full));
  if (PROGRAMS.has(top)) return false;
  if (top === 'torch' || top === 'numpy')
    return isOwn(name) && (/^_?[A-Z]\w*$/.test(last(name)) || LIBRARY_DATA.some((known) => known.test(full)));
  return isOwn(name);
}

/** A name that neither runs something nor leads on to what does. */
function isOwn(name: string): boolean {
  const parts = name.split('.');
  if (parts.slice(0, -1).some((part) => GATEWAYS.has(part) || part.startsWith('__'))) return false;
  return !EXECUTES.test(last(name)) && !/^__(?!newobj|\w+_ctor$|pyx_unpickle_\w+$)/.test(last(name));
}

/** Whether `name` may be a member of the class `of` (`Split.TRAIN`, `Outer.Inner`). */
export function isMember(of: string, name: string): boolean {
  return (
    /^_?[A-Z]/.test(last(of)) &&
    of.length + name.length < 400 &&
    /^\w+$/.test(name) &&
    (name === '__new__' || isOwn(name))
  );
}

const root = (name: string) => /^[^.]*/.exec(name)?.[0] ?? '';
const last = (name: string) => /[^.]*$/.exec(name)?.[0] ?? '';

/** A name from the file, in a message. */
export function quoted(name: string): string {
  return /^[\w.]{1,120}$/.test(name) ? name : quote(name);
}
