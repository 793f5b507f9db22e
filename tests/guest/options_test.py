#!/usr/bin/env python3
"""tests/guest/options_test.py LAMINA [CASE]: options whose effect shows in the guest."""
import json
import tempfile

from lamina_run import Failed, main, start, want


def guest(binary, script, *args):
    run = start(binary, *args, "--", "sh", "-ec", script)
    status = run.finish()
    if status:
        raise Failed(f"the script ended with {status}: {run.errors.decode()}")
    return run.console


def case_env(binary):
    want("output", guest(binary, 'echo "$A|$B|$HOME|$PATH"', "--env", "A=b c=d", "-e", "B=", "-e", "HOME=/tmp"),
         b"b c=d||/tmp|/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n")


def case_config(binary):
    """A whole run from a file, and a word of it changed on the command line."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/machine.json"
        with open(path, "w", encoding="ascii") as f:
            json.dump({"cpus": 2, "env": ["A=1"], "share": [folder + ":/s:ro"],
                       "command": ["sh", "-c", "nproc; echo $A; ls /s; exit 3"]}, f)
        for args, cpus in (((), b"2"), (("--cpus", "1"), b"1")):
            run = start(binary, "--config", path, *args)
            want("status", run.finish(), 3)
            want("output", run.console, cpus + b"\n1\nmachine.json\n")


def case_seed(binary):
    """The disk that cloud-init looks for, as Linux sees it."""
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/user-data", "wb") as f:
            f.write(b"#cloud-config\n" + bytes(range(32, 127)) * 100 + b"\n")
        with open(folder + "/key.pub", "w", encoding="ascii") as f:
            f.write("# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFirst a@b\n\nssh-rsa AAAASecond c d\n")
        out = guest(binary, """
            modprobe isofs; set -- $(blkid -t LABEL=cidata -o device); [ $# = 1 ]
            mount -o ro "$1" /mnt; ls /mnt >&2; cat /mnt/meta-data; echo; cat /mnt/user-data
            """, "--user-data", folder + "/user-data", "--ssh-key", folder + "/key.pub", "--name", "machine-7")
        meta, end = json.JSONDecoder().raw_decode(out.decode())
        with open(folder + "/user-data", "rb") as f:
            want("user data", out[end:].lstrip(b"\n"), f.read())
        want("name", meta["local-hostname"], "machine-7")
        want("keys", meta["public-keys"], ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFirst a@b", "ssh-rsa AAAASecond c d"])


main({name[5:]: case for name, case in list(globals().items()) if name.startswith("case_")}, __doc__)
