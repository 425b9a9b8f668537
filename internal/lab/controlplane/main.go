// Command controlplane is every process of the lab's cluster in one binary: the first argument names the part, the rest
// are that part's own flags.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// parts maps a name to what runs it; each returns the exit code.
var parts = map[string]func() int{
	"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kwok":                    func() int { return runKWOK() },
	"kubectl":                 func() int { return cli.Run(kubectl.NewDefaultKubectlCommand()) },
}

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		// Through a link of that name, for people and tests that have no kubectl.
		os.Exit(parts["kubectl"]())
	}
	if len(os.Args) < 2 || parts[os.Args[1]] == nil {
		names := make([]string, 0, len(parts))
		for name := range parts {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Fprintf(os.Stderr, "usage: controlplane PART [flags]; PART is one of %v\n", names)
		os.Exit(2)
	}
	part := parts[os.Args[1]]
	os.Args = os.Args[1:]
	if os.Getenv("LAB_LIFELINE") != "" {
		go dieWithLab()
	}
	os.Exit(part())
}

// Descriptors that the lab hands down.
const (
	lifelineFD = 3 // a pipe whose other end only the lab holds
	peersFD    = 4 // for the keeper, a pipe whose other end all other parts hold
)

// dieWithLab ends this process when the lab that started it is gone, however it went: nobody ever writes to these pipes, the kernel
// closes them. LAB_REMOVE makes this part the keeper: since nobody else is left to do it, it removes that directory once all other
// parts, which might still write to it, have ended.
func dieWithLab() {
	awaitClose(lifelineFD)
	if dir := os.Getenv("LAB_REMOVE"); dir != "" {
		awaitClose(peersFD)
		// This part itself may still be adding files.
		for range 100 {
			if os.RemoveAll(dir) == nil {
				break
			}
		}
	}
	os.Exit(1)
}

func awaitClose(fd uintptr) { _, _ = io.Copy(io.Discard, os.NewFile(fd, "lab")) }
