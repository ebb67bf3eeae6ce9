// go-criu, as container runtimes written in Go use it, against criu swrk: version, features, a dump and a restore with
// notifications, a refused notification, failures.
//
//	go-client CRIU DIRECTORY
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/checkpoint-restore/go-criu"
	"github.com/checkpoint-restore/go-criu/rpc"
	"google.golang.org/protobuf/proto"
)

// What was called, in order; the one named by refuse fails.
type notes struct {
	calls  []string
	refuse string
}

func (n *notes) note(name string) error {
	n.calls = append(n.calls, name)
	if name == n.refuse {
		return fmt.Errorf("%s is not wanted", name)
	}
	return nil
}

func (n *notes) PreDump() error              { return n.note("pre-dump") }
func (n *notes) PostDump() error             { return n.note("post-dump") }
func (n *notes) PreRestore() error           { return n.note("pre-restore") }
func (n *notes) PostRestore(pid int32) error { return n.note("post-restore") }
func (n *notes) NetworkLock() error          { return n.note("network-lock") }
func (n *notes) NetworkUnlock() error        { return n.note("network-unlock") }
func (n *notes) SetupNamespaces(pid int32) error {
	return n.note("setup-namespaces")
}
func (n *notes) PostSetupNamespaces() error { return n.note("post-setup-namespaces") }
func (n *notes) PostResume() error          { return n.note("post-resume") }

func (n *notes) has(names ...string) {
	for _, name := range names {
		if !strings.Contains(" "+strings.Join(n.calls, " ")+" ", " "+name+" ") {
			fail("no notification %s, only %v", name, n.calls)
		}
	}
}

func fail(format string, args ...interface{}) {
	panic(fmt.Sprintf(format, args...))
}

func check(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

var binary, where string

func client() *criu.Criu {
	c := criu.MakeCriu()
	c.SetCriuPath(binary)
	return c
}

// Options of a request; the directory stays open as long as the process lives.
func options(images, log string) *rpc.CriuOpts {
	dir := filepath.Join(where, images)
	check("directory", os.MkdirAll(dir, 0o755))
	f, err := os.Open(dir)
	check("directory", err)
	keep = append(keep, f)
	return &rpc.CriuOpts{
		ImagesDirFd: proto.Int32(int32(f.Fd())),
		LogLevel:    proto.Int32(4),
		LogFile:     proto.String(log),
	}
}

var keep []*os.File

func victim() *exec.Cmd {
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check("sleep", cmd.Start())
	time.Sleep(100 * time.Millisecond)
	return cmd
}

func version() {
	v, err := client().GetCriuVersion()
	check("version", err)
	if v < 40000 || v >= 50000 {
		fail("version %d", v)
	}
	enough, err := client().IsCriuAtLeast(31100)
	check("version", err)
	if !enough {
		fail("not even 3.11")
	}
}

func features() {
	f, err := client().FeatureCheck(&rpc.CriuFeatures{MemTrack: proto.Bool(true), LazyPages: proto.Bool(false)})
	check("features", err)
	if f.MemTrack == nil {
		fail("no answer about mem_track: %v", f)
	}
}

func dumpAndRestore() {
	v := victim()
	defer v.Process.Kill()
	n := &notes{}
	opts := options("images", "dump.log")
	opts.Pid = proto.Int32(int32(v.Process.Pid))
	opts.LeaveRunning = proto.Bool(true)
	check("dump", client().Dump(opts, n))
	n.has("pre-dump", "post-dump")
	if v.Process.Signal(syscall.Signal(0)) != nil {
		fail("the process does not run on")
	}
	opts = options("images", "dump2.log")
	opts.Pid = proto.Int32(int32(v.Process.Pid))
	check("dump without notifications", client().Dump(opts, nil))
	if v.Wait() == nil {
		fail("the process was not killed")
	}
	n = &notes{}
	check("restore", client().Restore(options("images", "restore.log"), n))
	n.has("pre-restore", "post-restore", "post-resume")
	check("end of the restored process", syscall.Kill(v.Process.Pid, syscall.SIGKILL))
}

func refused() {
	v := victim()
	defer func() { v.Process.Kill(); v.Wait() }()
	opts := options("refused", "dump.log")
	opts.Pid = proto.Int32(int32(v.Process.Pid))
	if client().Dump(opts, &notes{refuse: "pre-dump"}) == nil {
		fail("a refused notification is no failure")
	}
	if _, err := os.Stat(filepath.Join(where, "refused", "inventory.img")); err == nil {
		fail("there are images")
	}
	if v.Process.Signal(syscall.Signal(0)) != nil {
		fail("the process has gone")
	}
}

func failures() {
	opts := options("failures", "dump.log")
	opts.Pid = proto.Int32(4194000)
	err := client().Dump(opts, nil)
	if err == nil || !strings.Contains(err.Error(), "3") {
		fail("dump of nobody: %v", err)
	}
	if client().Restore(options("nothing", "restore.log"), nil) == nil {
		fail("a restore from nothing")
	}
}

func main() {
	binary, where = os.Args[1], os.Args[2]
	defer func() {
		if r := recover(); r != nil {
			fmt.Println(r)
			os.Exit(1)
		}
	}()
	for _, c := range []struct {
		name string
		run  func()
	}{{"version", version}, {"features", features}, {"dump and restore", dumpAndRestore}, {"refused", refused},
		{"failures", failures}} {
		fmt.Println(c.name)
		c.run()
	}
}
