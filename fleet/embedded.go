package fleet

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Embedded runs the engine in this process. It keeps its files in dir, which it creates, and opens no port. Only one
// process at a time can open a folder: another one gets [ErrStoreInUse].
func Embedded(dir string, opts ...EmbeddedOption) Engine {
	return embedded{dir, opts}
}

// An EmbeddedOption changes a default of [Embedded].
type EmbeddedOption func(*server.Options) error

// WithListen accepts connections of other processes on this machine, which use [URL] with [nats.Token]. The address is a
// loopback address with a port, such as 127.0.0.1:4222; port 0 takes any free one. The token must not be empty.
func WithListen(hostPort, token string) EmbeddedOption {
	return func(o *server.Options) error {
		host, portText, err := net.SplitHostPort(hostPort)
		port, portErr := strconv.ParseUint(portText, 10, 16)
		if err != nil || portErr != nil || !isLoopback(host) {
			return invalid("Embedded", "WithListen", "must be a loopback address with a port, such as 127.0.0.1:4222")
		}
		if token == "" {
			return invalid("Embedded", "WithListen", "needs a token")
		}
		o.DontListen, o.Host, o.Port, o.Authorization = false, host, int(port), token
		if port == 0 {
			o.Port = server.RANDOM_PORT
		}
		return nil
	}
}

// WithEncryptionKey encrypts the files of the store with ChaCha20-Poly1305. A store is opened with the key it was created
// with. The key must have at least 32 bytes.
func WithEncryptionKey(key string) EmbeddedOption {
	return func(o *server.Options) error {
		if len(key) < 32 {
			return invalid("Embedded", "WithEncryptionKey", "must have at least 32 bytes")
		}
		o.JetStreamKey, o.JetStreamCipher = key, server.ChaCha
		return nil
	}
}

type embedded struct {
	dir  string
	opts []EmbeddedOption
}

// connectMu keeps two servers of a process from starting at once: nats-server sets globals while it starts.
var connectMu sync.Mutex

func (e embedded) connect(ctx context.Context, s settings) (*connection, error) {
	if e.dir == "" {
		return nil, invalid("Embedded", "dir", "must not be empty")
	}
	options := &server.Options{
		ServerName: "fleet", DontListen: true, JetStream: true, StoreDir: e.dir, NoSigs: true, NoLog: true,
		SyncInterval: time.Second,
	}
	if err := configure("Embedded", options, e.opts); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEngine, err)
	}
	unlock, err := lock(e.dir)
	if err != nil {
		return nil, err
	}
	if err := checkKey(filepath.Join(e.dir, "key"), options.JetStreamKey); err != nil {
		return nil, errors.Join(err, unlock())
	}
	srv, err := startServer(ctx, options)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	stop := func() error {
		srv.Shutdown()
		srv.WaitForShutdown()
		return unlock()
	}
	s.nats = append(s.nats, nats.InProcessServer(srv), nats.Token(options.Authorization))
	if s.replicas == 0 {
		s.replicas = 1
	}
	conn, err := dial(ctx, "", s)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	conn.stop = stop
	conn.sync = func() error { return syncFiles(e.dir) }
	if !options.DontListen {
		conn.address = srv.ClientURL()
	}
	return conn, nil
}

// lock keeps other processes, and other calls in this one, from opening the store. It ends with the process.
func lock(dir string) (unlock func() error, err error) {
	file := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	locked, err := file.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEngine, err)
	case !locked:
		return nil, ErrStoreInUse
	}
	return file.Unlock, nil
}

// checkKey refuses another key than the one that the store was created with: the server would find no streams, and new ones
// would replace those that it cannot read. The file holds an HMAC, which tells nothing about the key.
func checkKey(path, key string) error {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("zapi fleet store"))
	want := hex.AppendEncode(nil, mac.Sum(nil))
	found, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(found) == 0: // the disk was full
		err = os.WriteFile(path, want, 0o600)
	case err == nil && !hmac.Equal(found, want):
		err = errors.New("the store was created with another encryption key, or with none")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEngine, err)
	}
	return nil
}

func startServer(ctx context.Context, options *server.Options) (*server.Server, error) {
	connectMu.Lock()
	defer connectMu.Unlock()
	srv, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEngine, err)
	}
	srv.Start()
	wait := 30 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		wait = time.Until(deadline)
	}
	if !srv.ReadyForConnections(wait) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("%w: the embedded server did not start: check the store and the port", ErrEngine)
	}
	return srv, nil
}

// syncFiles flushes the store to disk, as the server itself does so only from time to time.
func syncFiles(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = syncFile(path, entry.IsDir())
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server replaces files while it runs
		}
		return err
	})
}

func syncFile(path string, isDir bool) error {
	mode := os.O_RDWR // Windows flushes only what may be written
	if isDir {
		if runtime.GOOS == "windows" {
			return nil // it has no way to flush a folder
		}
		mode = os.O_RDONLY
	}
	file, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
