package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/upshift-k8s/upshift/internal/lab"
)

// machine is what the benchmark ran on.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryGiB  int    `json:"memoryGiB"` // rounded; 0 where it is not known
	OS         string `json:"os"`
	Go         string `json:"go"`
	Kubernetes string `json:"kubernetes"`
}

func thisMachine() machine {
	m := machine{
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		Go: runtime.Version(), Kubernetes: lab.KubernetesVersion,
	}
	if m.CPU == "" {
		m.CPU = "unknown CPU"
	}
	if kib, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		m.MemoryGiB = (kib + 1<<19) >> 20
	}
	return m
}

// field is the value of the first line "name : value" of a file; empty if there is none.
func field(path, name string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// key tells machines apart in names of files.
func (m machine) key() string {
	sum := sha256.Sum256(fmt.Append(nil, m))
	return hex.EncodeToString(sum[:])[:8]
}

// busy counts what this machine's processors have done since it was started.
type busy struct{ worked, all int64 }

func startBusy() busy {
	worked, all := processorTime()
	return busy{worked, all}
}

// share is how much of the time since then they have worked, of 1; 0 where the system does not tell.
func (b busy) share() float64 {
	worked, all := processorTime()
	if all == b.all {
		return 0
	}
	return float64(worked-b.worked) / float64(all-b.all)
}

// processorTime reads all processors' ticks: those at work, and all.
func processorTime() (worked, all int64) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(content), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal guest guest_nice
	for i, f := range fields[min(1, len(fields)):] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil || i > 7 { // guests are among the users already
			break
		}
		all += n
		if i != 3 && i != 4 {
			worked += n
		}
	}
	return worked, all
}
