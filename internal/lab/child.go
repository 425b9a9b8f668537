package lab

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// lifeline ties the children's lives to this process's: they hold the reading end of a pipe, life, whose writing end, alive, is only
// here, so the kernel tells them when this process is gone, however it went. The second pipe runs the other way around: the
// keeper reads peers, all others hold the writing end, so that the keeper knows when it is the last.
type lifeline struct{ life, alive, peers, others *os.File }

func newLifeline() (*lifeline, error) {
	life, alive, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open the children's lifeline: %w", err)
	}
	peers, others, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open the children's lifeline: %w", err)
	}
	return &lifeline{life: life, alive: alive, peers: peers, others: others}, nil
}

func (l *lifeline) cut() {
	for _, f := range []*os.File{l.life, l.alive, l.peers, l.others} {
		_ = f.Close()
	}
}

// child is one running component.
type child struct {
	name string
	log  string // path
	over func() // as [part] has it
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended; cmd.ProcessState says how
}

// start runs one part of the control plane binary. The first child is the keeper: should this process be killed, it removes the
// lab's directory once all others have ended.
func (l *Lab) start(p part) (*child, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil, errors.New("the lab has ended")
	}
	name := cmp.Or(p.label, p.name)
	c := &child{name: name, log: filepath.Join(l.logDir, name+".log"), over: p.over, done: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }()

	c.cmd = exec.Command(l.binary, append([]string{p.name}, p.args...)...)
	c.cmd.Dir = l.dir
	c.cmd.Stdout, c.cmd.Stderr = log, log
	// Not this process's environment: proxies and Go's settings in it are not meant for the lab.
	c.cmd.Env = []string{"HOME=" + l.dir, "TZ=UTC", "LAB_LIFELINE=1"}
	c.cmd.ExtraFiles = []*os.File{l.lifeline.life, l.lifeline.others}
	if len(l.children) == 0 {
		c.cmd.Env = append(c.cmd.Env, "LAB_REMOVE="+l.dir)
		c.cmd.ExtraFiles[1] = l.lifeline.peers
	}
	// A group of its own keeps a terminal's Ctrl-C from it: this process takes the children down in order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	l.children = append(l.children, c)
	go func() {
		_ = c.cmd.Wait() // what it would say is in the log and in cmd.ProcessState
		close(c.done)
	}()
	return c, nil
}

// follow ends the lab when the child has ended, unless that was meant.
func (l *Lab) follow(c *child) {
	<-c.done
	l.mu.Lock()
	meant := !slices.Contains(l.children, c)
	l.mu.Unlock()
	if !meant {
		l.end(c.died())
	}
}

// retire ends a child that the lab goes on without.
func (l *Lab) retire(c *child) {
	l.mu.Lock()
	l.children = slices.DeleteFunc(l.children, func(other *child) bool { return other == c })
	l.mu.Unlock()
	c.kill()
}

// kill ends the child and waits for it. Nothing in a lab is worth a graceful end, which takes an API server seconds.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
	if c.over != nil {
		c.over()
	}
}

// died describes the end of a child that has ended.
func (c *child) died() error {
	return fmt.Errorf("%s died (%s); the last lines of its log:\n%s", c.name, c.cmd.ProcessState, c.tail(10))
}

// tail is the last n lines of the child's log.
func (c *child) tail(n int) string {
	content, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}
