// Command upshift is the GitHub Action's program. It takes every input of the Action as a flag too.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// cleanUp is the name under which GitHub's runner starts the program in a container of its own once the step is over (post-entrypoint
// in action.yml).
const cleanUp = "upshift-post"

func main() {
	// GitHub's runner sends SIGINT and, 7.5 s later, SIGTERM: both ask for the same, and the second must not cut the first short.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	program := run
	if filepath.Base(os.Args[0]) == cleanUp {
		program = post
	}
	code := program(ctx, os.Args[1:], os.Environ(), os.Stdout)
	stop()
	os.Exit(code)
}
