//go:build !linux

package lab

import (
	"fmt"
	"net"
)

// port was a free TCP port of 127.0.0.1 a moment ago: elsewhere than on Linux nothing keeps it so.
type port struct{ number int }

func reservePort() (*port, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return &port{number: listener.Addr().(*net.TCPAddr).Port}, nil
}

func (p *port) release() {}
