package lab_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/labtest"
)

// parentVariable makes this test binary a program that starts a lab, names its directory, and waits to be killed.
const parentVariable = "LAB_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentVariable) == "" {
		os.Exit(m.Run())
	}
	l, err := lab.Start(context.Background(), lab.Options{Progress: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Dir())
	<-l.Done()
}

func TestLabEndsWithAKilledParent(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), parentVariable+"=1")
	parent.Stderr = t.Output()
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(line)
	if got := len(processes(t, dir)); got != 5 {
		t.Fatalf("%d processes before, want 5", got)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Fatal("the parent was not killed")
	}
	leavesNothing(t, dir)
}

func TestLabEndsWithItsContext(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	ctx, cancel := context.WithCancel(t.Context())
	l, err := lab.Start(ctx, lab.Options{Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	ended(t, l)
	leavesNothing(t, l.Dir())
	if err := l.Err(); err != nil {
		t.Errorf("an end that was wanted is an error: %v", err)
	}
}

func TestLabEndsWithAComponentAndNamesIt(t *testing.T) {
	l := labtest.Start(t)
	for _, pid := range processes(t, l.Dir(), "kube-scheduler") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	ended(t, l)
	leavesNothing(t, l.Dir())
	if err := l.Err(); err == nil || !strings.Contains(err.Error(), "kube-scheduler died (signal: killed)") {
		t.Errorf("got %v", err)
	}
}

func TestLabClosesTwice(t *testing.T) {
	l := labtest.Start(t)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	leavesNothing(t, l.Dir())
}

func TestLabThatCannotStartSaysWhy(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	binary, err := lab.Binary(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	t.Setenv(lab.CacheVariable, cache)
	broken := filepath.Join(cache, filepath.Base(filepath.Dir(binary)), filepath.Base(binary))
	writeScript(t, broken, "echo all is lost\nexit 7\n")

	_, err = lab.Start(t.Context(), lab.Options{})
	if err == nil || !strings.Contains(err.Error(), "died (exit status 7)") || !strings.Contains(err.Error(), "all is lost") {
		t.Errorf("got %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(temp, "upshift-lab-*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func writeScript(t *testing.T, path, script string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func ended(t *testing.T, l *lab.Lab) {
	t.Helper()
	select {
	case <-l.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the lab goes on")
	}
}

// leavesNothing waits until a lab's directory and processes are gone.
func leavesNothing(t *testing.T, dir string) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for {
		_, err := os.Stat(dir)
		left := processes(t, dir)
		if os.IsNotExist(err) && len(left) == 0 {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("left: %s (%v), processes %v", dir, err, left)
		}
	}
}

// processes are those with the lab's directory, and all other words, in their command line. A zombie has none.
func processes(t *testing.T, dir string, words ...string) (pids []int) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(commands) == 0 {
		t.Skip("needs /proc")
	}
	for _, path := range commands {
		command, _ := os.ReadFile(path) // a process may end before it is read
		if !bytes.Contains(command, []byte(dir+"/")) {
			continue
		}
		all := true
		for _, word := range words {
			all = all && bytes.Contains(command, []byte("\x00"+word+"\x00"))
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && all {
			pids = append(pids, pid)
		}
	}
	return pids
}
