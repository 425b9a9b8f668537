package lab

import (
	"fmt"
	"os"
	"syscall"
)

// port is a free TCP port of 127.0.0.1, kept from everybody who asks the kernel for any port, while whoever knows its number can
// listen on it, stop, and listen again: the socket that holds it is bound but never listens.
type port struct {
	number int
	socket int
}

func reservePort() (*port, error) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	p := &port{socket: socket}
	if err := p.bind(); err != nil {
		p.release()
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	return p, nil
}

// bind sets SO_REUSEADDR as Go's listeners do: with it on both sides a listener may share the port of a socket that does not listen.
func (p *port) bind() error {
	if err := syscall.SetsockoptInt(p.socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(p.socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	name, err := syscall.Getsockname(p.socket)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	p.number = name.(*syscall.SockaddrInet4).Port
	return nil
}

func (p *port) release() { _ = syscall.Close(p.socket) }
