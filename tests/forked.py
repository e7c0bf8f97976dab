"""The `generank` command in a process forked from one that has already imported it. This saves most of the start-up time.

It does what the console script does, `main()` with these arguments in a folder and an environment of its own, and is signalled and waited for as `subprocess.Popen` is.
tests/test_cli.py starts the script itself, tests/test_sweep.py whole runs with kernels.
Commands and notebooks come from one process, which imports once what takes ten seconds; the processes of pytest-xdist share it (`PLACE`). `Script`, a training, is forked from the test's own."""
import importlib
import logging
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

IMPORTED = ("generank.pipeline", "generank.machines", "generank.report", "generank.cli", "generank.grpo", "jupyter_client.manager", "nbconvert", "papermill", "papermill.clientwrap", "rich.console",
            "rich.progress", "scipy.stats", "sklearn.linear_model", "statsmodels.api", "torch", "trl.trainer.grpo_trainer")
LAUNCH = "jupyter_client.provisioning.local_provisioner.launch_kernel"
PLACE = "GENERANK_TESTS_FORKED_BY"   # the address of the process that forks, for those that did not start it
OF_TRANSFORMERS = ("AutoModelForCausalLM", "AutoTokenizer", "GenerationConfig", "LlamaForCausalLM", "PreTrainedTokenizerFast")


def _main(arguments, folder, environment, files, first, entry):
    "What the child does; `first`: called before all else; `entry`: module:function of the command."
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)   # as from a terminal: in the background a shell has its commands ignore it
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files, 1): os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    if os.environ.get("GENERANK_OFFLINE") == "1": importlib.import_module("generank.core").stay_offline()   # it has been imported without
    if first: first()
    module, name = entry.split(":")
    sys.argv = [module.partition(".")[0], *arguments]
    with patch(LAUNCH, Kernel): sys.exit(getattr(importlib.import_module(module), name)())


def _warm():
    "In the process that the others are forked from: import what a run imports, and hash the library's code once."
    for name in IMPORTED: importlib.import_module(name)
    import transformers
    for name in OF_TRANSFORMERS: getattr(transformers, name)
    from generank import execution
    for file in execution.PACKAGE.glob("*.py"):
        execution.imported_modules(text := file.read_text(encoding="utf-8"))
        execution.code_hash(text)


if __name__ == "forked" and multiprocessing.parent_process() is None and "GENERANK_FORKS" in os.environ: _warm()


def serve():
    "Start the process that forks, if none runs, and tell its address to the processes that this one starts."
    if PLACE in os.environ: return
    multiprocessing.set_forkserver_preload(["forked"])
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with patch.dict(os.environ, PYTHONPATH=path, GENERANK_FORKS="1"): forkserver.ensure_running()
    os.environ[PLACE] = os.fsdecode(forkserver._forkserver._forkserver_address)


def _context():
    serve()
    server = forkserver._forkserver
    if server._forkserver_pid is None:   # another process has started it
        server._forkserver_address, server.ensure_running = os.environ[PLACE], lambda: None
        if server._forkserver_alive_fd is None: server._forkserver_alive_fd = os.open(os.devnull, os.O_RDONLY)
    return multiprocessing.get_context("forkserver")


class Signalled:
    "What is sent to a process that may have ended."
    def send_signal(self, number):
        if self.poll() is None: os.kill(self.pid, number)
    def kill(self): self.send_signal(signal.SIGKILL)
    def terminate(self): self.send_signal(signal.SIGTERM)


class Forked(Signalled):
    "A `generank` command that has been started; the part of `subprocess.Popen` that tests use."
    def __init__(self, arguments, cwd=".", env=None, first=None, entry="generank.cli:main", files=None):
        self.args, self._lock = [*map(str, arguments)], threading.Lock()
        context = _context()
        self._files = files or [tempfile.mkstemp(prefix="generank-said-")[1] for _ in range(2)]   # stdout and stderr
        given = self.args, str(cwd), {**(os.environ if env is None else env), PLACE: os.environ[PLACE]}, self._files, first, entry
        self._process = context.Process(target=_main, args=given)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        with self._lock: return self._process.exitcode
    def poll(self): return self.returncode

    def wait(self, timeout=None):
        end = time.monotonic() + (timeout or float("inf"))
        while self.poll() is None:
            if time.monotonic() > end: raise subprocess.TimeoutExpired(self.args, timeout, *self._said())
            time.sleep(0.02)
        return self.returncode

    def communicate(self, timeout=None):
        self.wait(timeout)
        return self._said()

    def _said(self): return [Path(f).read_text(encoding="utf-8") for f in self._files]


def run(*arguments, timeout=300, **how):
    "Run `generank` with these arguments to its end, as `subprocess.run` does."
    process = Forked(arguments, **how)
    try: out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(["generank", *process.args], process.returncode, out, err)


def guarded():
    "Write to a file what this process and those forked from it connect to outside this machine (`first`)."
    def note(line):
        with open(os.environ["CONNECTIONS"], "a") as f: f.write(f"{line}\n")
    def look(event, args):
        if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
            place = args[1] if event in ("socket.connect", "socket.sendto") else args[0]
            place = place[0] if isinstance(place, tuple) and place else place
            here = not isinstance(place, str) or place in ("", "localhost", "::1") or place.startswith("127.") or place.startswith("/")
            if not here: note(f"{event} {place} {' '.join(sys.argv)[:80]}")
    sys.addaudithook(look)
    os.register_at_fork(after_in_child=lambda: note(f"guarded {os.getpid()}"))
    note(f"guarded {os.getpid()}")


def runs():
    "From now on the runs of a sweep in this process are forked too (`first`). A signal to its process group does not reach them, and they don't notice when it dies."
    from generank.sweeps import GENERANK, Command
    start = Command.start
    def forked(self):
        command, log, environment = self.job
        if command[:len(GENERANK)] != GENERANK: return start(self)
        files = [os.devnull, log or f"/proc/{os.getpid()}/fd/2"]
        if log: open(log, "wb").close()
        self.child = Forked(command[len(GENERANK):], env={**os.environ, **environment}, files=files)
        return self.child
    Command.start = forked


def _kernel(command, env, cwd, files):
    "The body of a forked kernel: the same as `python -m ipykernel_launcher`, but other packages are already imported."
    import asyncio
    from IPython.core.interactiveshell import InteractiveShell
    from ipykernel.kernelapp import IPKernelApp
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, file in enumerate(files):
        if file is not None: os.dup2(file if isinstance(file, int) else file.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(os.dup(number), mode, buffering=1) for number, mode in enumerate("rww"))
    os.environ.clear()
    os.environ.update(env)
    if cwd: os.chdir(cwd)
    for name in [m for m in sys.modules if m.partition(".")[0] == "generank"]: del sys.modules[name]   # it looks at the environment as it is imported
    for single in (InteractiveShell._instance, IPKernelApp._instance):
        if single: type(single).clear_instance()
    asyncio.set_event_loop(asyncio.new_event_loop())
    logging.getLogger().handlers.clear()
    sys.argv = command[2:]
    IPKernelApp.launch_instance([*command[3:], f"--IPKernelApp.parent_handle={os.getppid()}"])   # it ends when the process that started it has


class Kernel(Signalled):
    "A kernel forked from this process in place of one that is started: the part of `subprocess.Popen` that jupyter_client uses."
    stdin = stdout = stderr = returncode = None

    def __init__(self, command, stdin=None, stdout=None, stderr=None, env=None, independent=False, cwd=None, **_):
        ready, tell = os.pipe()
        self.args, self.pid = command, os.fork()
        if self.pid:
            os.close(tell)
            os.read(ready, 1)   # its process group is asked for next
            os.close(ready)
            return
        try:
            os.setsid()
            os.close(tell)
            _kernel(command, os.environ if env is None else env, cwd, (os.open(os.devnull, os.O_RDONLY), stdout, stderr))
        except SystemExit: pass
        except BaseException: traceback.print_exc()
        finally: os._exit(0)

    def poll(self, how=os.WNOHANG):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            if pid: self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=None): return self.poll(0)


def _notebook(path, environment, file):
    "What the child does for a notebook: its cells in an IPython shell of its own, as `nbdev_test` runs them."
    signal.signal(signal.SIGINT, signal.default_int_handler)   # as in a kernel
    os.environ.clear()
    os.environ.update(environment)
    for number in (1, 2): os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    from nbdev.test import test_nb
    with patch(LAUNCH, Kernel): sys.exit(not test_nb(path)[0])


def notebook(path):
    "Run a notebook in its own folder and process. Returns what it printed (the last 5,000 characters) if a cell fails, else None."
    file = tempfile.mkstemp(prefix="generank-said-")[1]
    process = _context().Process(target=_notebook, args=(Path(path), dict(os.environ), file))
    process.start()
    process.join()
    return Path(file).read_text(encoding="utf-8")[-5000:] if process.exitcode else None


class Script:
    "A Python script that trains, in a process forked from this one, which imports once what takes ten seconds; what it prints goes to a file beside `out`."
    def __init__(self, script, out, *arguments, **environment):
        import trl.trainer.grpo_trainer, generank.grpo
        self.printed = out.parent/f"{out.name}.printed{environment.get('RANK', '')}"
        self.pid = os.fork()
        if self.pid: return
        code = 1
        try:
            os.dup2(os.open(self.printed, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
            sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1)
            logging.getLogger().handlers.clear()   # pytest's own
            sys.argv = [*map(str, (script, out, *arguments))]
            os.environ.update(environment)
            runpy.run_path(str(script), run_name="__main__")
            code = 0
        except BaseException: traceback.print_exc()
        finally: os._exit(code)

    def wait(self):   # exit code, negative where a signal ended it, and what it printed
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), self.printed.read_text()
