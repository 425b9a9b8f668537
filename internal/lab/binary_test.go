package lab_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upshift-k8s/upshift/internal/lab"
)

// fakeGo puts a go command into PATH that knows where the module is, and builds with the given script: $OUT is the file to make,
// $LOG gets a line for each build.
func fakeGo(t *testing.T, build string) (builds func() int) {
	t.Helper()
	gomod, err := filepath.Abs("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "builds")
	writeScript(t, filepath.Join(dir, "go"), `
case $1 in
env) printf '%s\ngo1.26\nlinux\namd64\n' `+gomod+` ;;
build)
	OUT=$(echo "$*" | sed 's/.* -o //; s/ .*//')
	echo build >>`+log+`
	`+build+` ;;
esac
`)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv(lab.CacheVariable, t.TempDir())
	return func() int {
		content, _ := os.ReadFile(log) // absent: none
		return bytes.Count(content, []byte("\n"))
	}
}

func TestBinaryIsBuiltOnceForManyCallers(t *testing.T) {
	builds := fakeGo(t, `echo 'go: downloading k8s.io/api v0' >&2; echo k8s.io/api >&2; echo k8s.io/client-go >&2; echo binary >$OUT`)
	var progress bytes.Buffer
	if _, err := lab.Binary(t.Context(), &progress); err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			path, err := lab.Binary(t.Context(), nil)
			if err != nil {
				t.Error(err)
			}
			if content, err := os.ReadFile(path); err != nil || string(content) != "binary\n" {
				t.Errorf("%s: %q, %v", path, content, err)
			}
		})
	}
	callers.Wait()
	if builds() != 1 {
		t.Errorf("%d builds", builds())
	}
	if !strings.Contains(progress.String(), "1 modules downloaded, 2 packages compiled") {
		t.Errorf("progress: %s", &progress)
	}
}

func TestBinaryIsBuiltOnceByCallersAtTheSameTime(t *testing.T) {
	builds := fakeGo(t, `echo binary >$OUT`)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			if _, err := lab.Binary(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if builds() != 1 {
		t.Errorf("%d builds", builds())
	}
}

func TestBinaryThatDoesNotCompileSaysWhy(t *testing.T) {
	fakeGo(t, `echo 'main.go:1:1: no such luck' >&2; echo half >$OUT; exit 1`)
	for range 2 { // a failed build is no binary for the next caller
		_, err := lab.Binary(t.Context(), nil)
		if err == nil || !strings.Contains(err.Error(), "no such luck") {
			t.Errorf("got %v", err)
		}
	}
}

func TestBinaryBuildEndsWithItsContext(t *testing.T) {
	fakeGo(t, `exec sleep 60`)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := lab.Binary(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestLabRunsTheKubernetesThatItNames(t *testing.T) {
	for _, path := range []string{"controlplane/go.mod", "kwok.yaml"} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(content, []byte(lab.KubernetesVersion)) {
			t.Errorf("%s is not about %s", path, lab.KubernetesVersion)
		}
	}
}
