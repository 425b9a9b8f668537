package lab

import (
	"net"
	"strconv"
)

func (p *port) String() string { return strconv.Itoa(p.number) }

// addr is the port as "127.0.0.1:PORT".
func (p *port) addr() string { return net.JoinHostPort("127.0.0.1", p.String()) }
