#!/usr/bin/env python3
"""tests/guest/fs_test.py LAMINA [CASE]: folders of the host in the guest, through Linux's virtiofs.

The cases of check-fs (big_...) take minutes; FS_FILES (100000) and FS_ROOTFS (a Debian with lamina's
build packages, see tests/guest/make-rootfs) are theirs.
"""
import hashlib
import os
import shutil
import subprocess
import tempfile

from lamina_run import Failed, main, skip, start, want

TREE_SUM = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"


REFUSE = """set -e
refuse() { if "$@" 2>/dev/null; then echo "was not refused: $*" >&2; exit 9; fi; }
"""


def good(binary, script, *args, **options):
    run = start(binary, *args, "--", "sh", "-c", REFUSE + script, **options)
    status = run.finish()
    if status:
        raise Failed(f"the script ended with {status}: {run.errors.decode()}")
    return run.console


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def case_share(binary):
    """What the host wrote, and what the guest does to it."""
    with tempfile.TemporaryDirectory() as folder:
        data = os.urandom(3 << 20)
        write(folder + "/in", data)
        out = good(binary, """
            cd /mnt/shared
            sha256sum <in | cut -c 1-64
            cp in out; mkdir -p a/b; echo text >a/b/c; ln a/b/c a/hard; ln -s b/c a/soft; cat a/soft
            mv a/hard a/moved; chmod 640 a/moved; touch -d @1000000000 a/moved
            stat -c '%a %h %Y' a/moved; truncate -s 5 out; echo more >>out; rm in
            (echo first; rm a/b/c; echo second) >a/b/c.new; mv a/b/c.new a/b/c; cat a/b/c; ls -A a a/b
            """, "--share", folder + ":/mnt/shared")
        want("output", out.decode().split("\n"),
             [hashlib.sha256(data).hexdigest(), "text", "640 2 1000000000", "first", "second", "a:", "b", "moved",
              "soft", "", "a/b:", "c", ""])
        want("file", read(folder + "/out"), data[:5] + b"more\n")
        want("names", sorted(os.listdir(folder)), ["a", "out"])
        want("mode", os.stat(folder + "/a/moved").st_mode & 0o7777, 0o640)
        want("link", os.readlink(folder + "/a/soft"), "b/c")


def case_modes(binary):
    """The guest asks each time what the host has changed, or believes itself and writes late."""
    with tempfile.TemporaryDirectory() as folder:
        write(folder + "/file", b"old")
        run = start(binary, "--share", folder + ":/s:fresh", "--", "sh", "-c",
                    "cat /s/file; echo; read go; cat /s/file /s/new")
        run.expect(b"old\n")
        write(folder + "/new", b"made later")
        write(folder + "/file", b"changed in between, ")
        run.send(b"\n")
        want("status", run.finish(), 0)
        want("what the guest saw", run.console, b"old\nchanged in between, made later")
    with tempfile.TemporaryDirectory() as folder:
        out = good(binary, "cd /s; for n in 1 2 3 4 5; do echo $n >>f; done; mv f g; sha256sum g | cut -c 1-64",
                   "--share", folder + ":/s:exclusive")
        want("sum", out.strip().decode(), hashlib.sha256(read(folder + "/g")).hexdigest())


def case_two_shares(binary):
    """One is read-only for the guest, whatever it tries."""
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        write(a + "/file", b"kept")
        out = good(binary, """
            cat /a/file; cp /a/file /b/copy
            refuse touch /a/new; refuse rm -f /a/file; refuse sh -c 'echo x >/a/file'
            mount -o remount,rw /a
            refuse touch /a/new; refuse rm -f /a/file; refuse sh -c 'echo x >/a/file'; refuse chmod 700 /a
            echo refused
            """, "--share", a + ":/a:ro", "--share", b + ":/b")
        want("output", out, b"keptrefused\n")
        want("names", (os.listdir(a), os.listdir(b)), (["file"], ["copy"]))


def case_missing(binary):
    """The default guest of an older build, or a place that cannot be: the command is not run."""
    with tempfile.TemporaryDirectory() as folder:
        run = start(binary, "--share", folder + ":/proc/sys/x", "--", "true")
        want("status", run.finish(), 125)
        want("message", b"cannot mount the share at /proc/sys/x" in run.errors, True)


def case_escape(binary):
    """Links and names that lead out of the share lead to the guest's own files."""
    with tempfile.TemporaryDirectory() as top:
        os.mkdir(top + "/share")
        write(top + "/secret", b"of the host")
        os.symlink("../secret", top + "/share/up")
        os.symlink(top + "/secret", top + "/share/path")
        os.symlink("/proc/1/root" + top, top + "/share/proc")
        os.symlink("/", top + "/share/root")
        good(binary, """
            cd /share
            for name in up path proc/secret root%s/secret ../secret; do refuse cat $name; done
            refuse ls root%s
            echo guest >root/written; cat /written
            mkdir d; cd d; mv /share/d /share/e; refuse cat ../../secret
            refuse mknod /share/disk b 254 0; mkfifo /share/pipe
            """ % (top, top), "--share", top + "/share:/share")
        want("outside", (sorted(os.listdir(top)), read(top + "/secret")), (["secret", "share"], b"of the host"))


def busybox_root(folder):
    program = shutil.which("busybox")
    if not program or b"statically linked" not in subprocess.run(
            ["file", "-L", program], stdout=subprocess.PIPE, check=True).stdout:
        skip("no static busybox; the package is busybox-static")
    os.mkdir(folder + "/bin")
    shutil.copy(program, folder + "/bin/busybox")
    for name in ("sh", "cat", "ls", "echo", "mount", "touch", "rm", "uname"):
        os.symlink("busybox", folder + "/bin/" + name)


def case_rootfs(binary):
    """A plain folder with one program in it; what the guest changes is lost."""
    with tempfile.TemporaryDirectory() as folder:
        busybox_root(folder)
        out = good(binary, "echo $((6 * 7)) >/result; rm /bin/uname; cat /result; ls /proc/1/exe >&2",
                   "--rootfs", folder)
        want("output", out, b"42\n")
        want("names", (os.listdir(folder), os.path.lexists(folder + "/bin/uname")), (["bin"], True))


def case_rootfs_rw(binary):
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as share:
        busybox_root(folder)
        out = good(binary, "echo kept >/result; cat /result; echo s >/mnt/s; exit 0", "--rootfs", folder + ":rw",
                   "--share", share + ":/mnt")
        want("output", out, b"kept\n")
        want("files", (read(folder + "/result"), read(share + "/s")), (b"kept\n", b"s\n"))


def case_user(binary):
    """An ordinary user's folder: the guest's root has the user's rights, and no more."""
    if os.geteuid() != 0:
        skip("not root: all other cases run as an ordinary user")
    with tempfile.TemporaryDirectory() as folder:
        share = folder + "/share"
        write(share + "/locked/file", b"root's")
        write(share + "/mine", b"mine")
        os.chmod(folder, 0o755)
        os.chmod(share + "/locked", 0o700)
        for path in (share, share + "/mine"):
            os.chown(path, 65534, 65534)
        guest = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "lamina")
        os.makedirs(folder + "/lamina/guest/current")
        for name in os.listdir(guest + "/guest/current"):
            source = os.path.realpath(f"{guest}/guest/current/{name}")
            try:
                os.link(source, f"{folder}/lamina/guest/current/{name}")
            except OSError:
                subprocess.run(["cp", "--sparse=always", source, folder + "/lamina/guest/current"], check=True)
        program = shutil.copy(binary, folder + "/program")
        out = good(program, """
            stat -c '%u %g' /s/mine; cd /s; touch new; refuse ls locked; refuse touch locked/x
            mkdir d; chmod 4755 new; stat -c %a new; refuse chown 5 new; chown 0:0 new; id -u
            """, "--share", share + ":/s", env={"XDG_CACHE_HOME": folder, "HOME": "/nonexistent"},
                   wrapper=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
                            "--inh-caps=-all", "--no-new-privs"])
        want("output", out, b"0 0\n755\n0\n")
        st = os.stat(share + "/new")
        want("owner", (st.st_uid, st.st_gid, st.st_mode & 0o7777), (65534, 65534, 0o755))


def make_tree(folder, files):
    for n in range(files):
        write(f"{folder}/d{n % 97}/e{n % 13}/f{n}", b"%d " % n * (n % 59))


def host_sum(folder):
    return subprocess.run(["sh", "-c", TREE_SUM], cwd=folder, stdout=subprocess.PIPE, check=True).stdout


def copy_tree(binary, files, *options, **more):
    """Copied into the guest's memory, changed names, and out again: checksums on both sides."""
    with tempfile.TemporaryDirectory() as folder:
        make_tree(folder + "/in", files)
        before = host_sum(folder + "/in")
        out = good(binary, f"""
            mkdir /work; mount -t tmpfs -o size=80%,nr_inodes=0 t /work; cp -a /s/in /work/tree
            cd /work/tree; {TREE_SUM}; cp -a /work/tree /s/out; cd /s/out; {TREE_SUM}
            find /s/in -type f | wc -l
            """, "--share", folder + ":/s", *options, **more)
        want("sums", out, before * 2 + b"%d\n" % files)
        want("sum on the host", host_sum(folder + "/out"), before)


def case_tree(binary):
    copy_tree(binary, 1000)


def case_big_tree(binary):
    copy_tree(binary, int(os.environ.get("FS_FILES", "100000")), "--memory", "2G", "--cpus", "2", timeout=3000)


def rootfs():
    folder = os.environ.get("FS_ROOTFS", "")
    if not os.path.exists(folder + "/usr/bin/gcc"):
        skip("FS_ROOTFS is no Debian with lamina's build packages; tests/guest/make-rootfs makes one")
    return folder


def source_tree():
    return os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))


def case_big_git(binary):
    """Clone into the share, an older commit and back, in a machine whose root is a folder."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as source:
        subprocess.run(["git", "clone", "-q", "--bare", source_tree(), source + "/git"], check=True)
        out = good(binary, """
            cd /s; git config --global --add safe.directory '*'
            git clone -q /source/git copy; cd copy; git checkout -q HEAD~20; git checkout -q -; git fsck --strict --no-dangling
            git status --porcelain; git rev-parse HEAD
            """, "--rootfs", rootfs(), "--share", source + ":/source:ro", "--share", folder + ":/s",
                   "--memory", "2G", timeout=3000)
        head = subprocess.run(["git", "-C", source_tree(), "rev-parse", "HEAD"], stdout=subprocess.PIPE, check=True)
        want("commit", out, head.stdout)
        status = subprocess.run(["git", "-c", "safe.directory=*", "-C", folder + "/copy", "status", "--porcelain"],
                                stdout=subprocess.PIPE, check=True)
        want("status on the host", status.stdout, b"")


def case_big_build(binary):
    """lamina, built in the share by the guest's compiler, says its version there."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "-q", source_tree(), folder + "/src"], check=True)
        out = good(binary, """
            cd /s/src; meson setup --buildtype=plain build >&2; ninja -C build lamina >&2; build/lamina --version
            """, "--rootfs", rootfs(), "--share", folder + ":/s", "--memory", "2G", "--cpus", "2", timeout=9000)
        want("version", out.startswith(b"lamina "), True)


main({name[5:]: case for name, case in list(globals().items()) if name.startswith("case_")}, __doc__)
