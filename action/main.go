// Command upshift is the GitHub Action's program. It takes every input of the Action as a flag too.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// GitHub's runner sends SIGINT and, 7.5 s later, SIGTERM: both ask for the same, and the second must not cut the first short.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout)
	stop()
	os.Exit(code)
}
