package lab

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// KubernetesVersion is the version of the control plane that a lab runs.
const KubernetesVersion = "v1.37.2"

// CacheVariable names the environment variable that says where the built control plane is kept, instead of upshift-lab in
// the user's cache directory.
const CacheVariable = "UPSHIFT_LAB_CACHE"

// buildArgs are part of the cache's key. Without a version at link time the server would call itself v0.0.0-master.
var buildArgs = []string{
	"build", "-v", "-trimpath", "-buildvcs=false",
	"-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion=" + KubernetesVersion,
}

// Binary is the path of the control plane's binary, which is built if the cache has none for its present sources and Go version:
// some minutes, during which progress (nil: nobody) gets a line every few seconds. Of several callers, in whatever
// processes, one builds and the others wait. The working directory must be within the module.
func Binary(ctx context.Context, progress io.Writer) (string, error) {
	if progress == nil {
		progress = io.Discard
	}
	source, key, err := findSource(ctx)
	if err != nil {
		return "", fmt.Errorf("find the control plane's sources: %w", err)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(cache, key, "controlplane")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		return "", fmt.Errorf("make room for the control plane: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(filepath.Dir(binary), "lock"), progress)
	if err != nil {
		return "", fmt.Errorf("wait for another build of the control plane: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := build(ctx, source, binary, progress); err != nil {
		return "", fmt.Errorf("build the control plane: %w", err)
	}
	return binary, nil
}

func cacheDir() (string, error) {
	if dir := os.Getenv(CacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory (or set %s): %w", CacheVariable, err)
	}
	return filepath.Join(dir, "upshift-lab"), nil
}

// findSource finds the nested module and names what would be built from it.
func findSource(ctx context.Context) (dir, key string, err error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return "", "", fmt.Errorf("go env: %w", err)
	}
	gomod, platform, _ := strings.Cut(string(out), "\n")
	dir = filepath.Join(filepath.Dir(gomod), "internal", "lab", "controlplane")
	sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", "", err
	}
	if len(sources) == 0 {
		return "", "", fmt.Errorf("nothing in %s: the working directory must be within Upshift's sources", dir)
	}
	sources = append(sources, filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum"))
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%s %q\n", platform, buildArgs)
	for _, path := range sources {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", "", err
		}
		_, _ = fmt.Fprintf(hash, "%s %d\n%s", filepath.Base(path), len(content), content)
	}
	return dir, hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// lock takes a lock between processes.
func lock(ctx context.Context, path string, progress io.Writer) (unlock func(), err error) {
	type result struct {
		unlock func()
		err    error
	}
	locked := make(chan result, 1)
	go func() {
		unlock, err := lockedfile.MutexAt(path).Lock()
		locked <- result{unlock, err}
	}()
	began := time.Now()
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case r := <-locked:
			return r.unlock, r.err
		case <-ticker.C:
			report(progress, "waiting for another build of the control plane: %s", elapsed(began))
		case <-ctx.Done():
			go func() {
				if r := <-locked; r.err == nil {
					r.unlock()
				}
			}()
			return nil, ctx.Err()
		}
	}
}

// build compiles to a file beside the binary first, so that the binary is whole whenever it exists.
func build(ctx context.Context, source, binary string, progress io.Writer) error {
	report(progress, "building the control plane once: etcd, Kubernetes %s and KWOK, some 2000 packages, about 6 minutes on two cores", KubernetesVersion)
	unfinished := binary + ".unfinished"
	defer func() { _ = os.Remove(unfinished) }()

	args := append(append([]string{}, buildArgs...), "-o", unfinished, ".")
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	cmd.WaitDelay = time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var seen tally
	stop := seen.reportEvery(progressInterval, progress)
	complaints := seen.read(stderr)
	err = cmd.Wait()
	stop()
	if err != nil {
		return errors.Join(context.Cause(ctx), fmt.Errorf("go build: %w\n%s", err, complaints))
	}
	return os.Rename(unfinished, binary)
}

const progressInterval = 5 * time.Second

// tally counts what go build -v says it does.
type tally struct{ modules, packages atomic.Int64 }

// read counts until the end, and returns the lines that say something else.
func (t *tally) read(r io.Reader) string {
	var rest strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "go: downloading "):
			t.modules.Add(1)
		case line != "" && !strings.ContainsAny(line, " \t:"):
			t.packages.Add(1)
		default:
			fmt.Fprintln(&rest, line)
		}
	}
	return strings.TrimSpace(rest.String())
}

// reportEvery reports the count until it is stopped, which reports the last one.
func (t *tally) reportEvery(interval time.Duration, progress io.Writer) (stop func()) {
	began := time.Now()
	done, stopped := make(chan struct{}), make(chan struct{})
	line := func() {
		report(progress, "  %s: %d modules downloaded, %d packages compiled", elapsed(began), t.modules.Load(), t.packages.Load())
	}
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				line()
			case <-done:
				line()
				return
			}
		}
	}()
	return func() { close(done); <-stopped }
}

func elapsed(began time.Time) time.Duration { return time.Since(began).Round(time.Second) }

// report writes a line for a person; that nobody can read it stops nothing.
func report(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, "lab: "+format+"\n", args...)
}
