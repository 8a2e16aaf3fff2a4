//go:build linux

package rig

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A process is a server, a worker or an operator.
type process struct {
	t         *testing.T
	log       string // the file
	args, env []string
	cmd       *exec.Cmd // nil while it does not run
	begun     int       // how often
}

func (s *scene) launch(name string, env []string, args ...string) *process {
	s.t.Helper()
	p := &process{t: s.t, log: filepath.Join(s.dir, name+".log"), args: args, env: env}
	s.t.Cleanup(p.kill)
	p.start()
	return p
}

// again launches this program anew, connected to the node of that number.
func (s *scene) again(name string, node int, env string) *process {
	s.t.Helper()
	return s.launch(name, []string{"RIG_URL=" + s.urls(node), env}, os.Args[0])
}

func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	defer func() { assert.NoError(p.t, log.Close()) }()
	cmd := exec.Command(p.args[0], p.args[1:]...) //nolint:noctx // kill ends it
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	_, err = cmd.StdinPipe() // a worker ends with it, should all else fail
	require.NoError(p.t, err)
	require.NoError(p.t, cmd.Start())
	p.cmd = cmd
	p.begun++
}

// wait waits until the process has ended by itself.
func (p *process) wait() error {
	defer func() { p.cmd = nil }()
	return p.cmd.Wait()
}

// kill is SIGKILL.
func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // it may have ended
		_ = p.wait()
	}
}

func (p *process) signal(signal os.Signal) {
	p.t.Helper()
	assert.NoError(p.t, p.cmd.Process.Signal(signal))
}

const token = "rig-token"

// A node is a nats-server with its store.
type node struct {
	*process
	url, config, settings, dir string
}

func (s *scene) addNodes(n int, dir string) {
	s.t.Helper()
	var routes []string
	for range n {
		routes = append(routes, freePort(s.t))
	}
	for i, route := range routes {
		name, address := fmt.Sprint("n", i), freePort(s.t)
		n := &node{url: "nats://" + address, config: filepath.Join(s.dir, name+".conf"), dir: filepath.Join(dir, name)}
		n.settings = fmt.Sprintf("server_name: %s\nlisten: %q\njetstream { store_dir: %q }", name, address, n.dir)
		if len(routes) > 1 {
			n.settings += fmt.Sprintf("\ncluster { name: rig, listen: %q, routes: [nats://%s] }", route, strings.Join(routes, ", nats://"))
		}
		n.configure(s.t, token)
		n.process = s.launch(name, nil, natsServer, "-c", n.config)
		s.nodes = append(s.nodes, n)
	}
}

func (n *node) configure(t *testing.T, token string) {
	t.Helper()
	text := fmt.Sprintf("%s\nauthorization { token: %q }\n", n.settings, token)
	require.NoError(t, os.WriteFile(n.config, []byte(text), 0o600))
}

// accept makes the servers accept another token, as when it is rotated.
func (s *scene) accept(token string) {
	s.t.Helper()
	s.disturbed(s.nodes[0].process)
	for _, n := range s.nodes {
		n.configure(s.t, token)
		n.signal(syscall.SIGHUP)
	}
}

// store is the folder of a stream.
func (n *node) store(stream string) string {
	return filepath.Join(n.dir, "jetstream", "$G", "streams", stream)
}

// urls names all servers, that of the number first.
func (s *scene) urls(first int) string {
	var urls []string
	for i := range s.nodes {
		urls = append(urls, s.nodes[(first+i)%len(s.nodes)].url)
	}
	return strings.Join(urls, ",")
}

var ports atomic.Int64

// freePort returns an address below the ports of outgoing connections, so that it is not taken in the meantime, nor while its server
// is away. Rigs that run at once begin at ports of their own.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		port := 21_000 + (int64(os.Getpid())*200+ports.Add(1))%10_000
		address := net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10))
		if listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address); err == nil {
			require.NoError(t, listener.Close())
			return address
		}
	}
}
