// Command lab leaves a GKE cluster running on this machine, until it is interrupted, and says how to point kubectl and
// upshift at it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// run keeps a lab until ctx is done. Being told to stop is no error.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	logs := flags.String("logs", "", "a directory that keeps the components' logs")
	buildOnly := flags.Bool("build-only", false, "build the control plane, if that has not been done, and no more")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *buildOnly {
		_, err := lab.Binary(ctx, out)
		return err
	}
	bed, err := testbed.Start(ctx, testbed.Options{LogDir: *logs, Progress: out})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, bed.Close()) }()

	fmt.Fprintf(out, `The lab is ready: %s, a control plane at %s and three nodes at %s. In another terminal:

  export PATH=%s:$PATH KUBECONFIG=%s
  export %s
  kubectl get nodes
  kubectl apply -f internal/lab/testbed/workloads.yaml
  bin/upshift plan --cluster %[7]s --project %[8]s --location %[9]s --target-version control-plane
  bin/upshift upgrade --cluster %[7]s --project %[8]s --location %[9]s --target-version control-plane --soak 0

Ctrl-C ends it.
`, testbed.Name, testbed.ControlPlaneVersion, testbed.NodeVersion, bed.Bin(), bed.Kubeconfig(), strings.Join(bed.Env(), " "),
		testbed.Name, testbed.Project, testbed.Location)
	<-bed.Lab.Done()
	if err := bed.Lab.Err(); err != nil {
		return err
	}
	fmt.Fprintln(out, "The lab is gone, and nothing is left of it.")
	return nil
}
