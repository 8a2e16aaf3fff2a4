package store

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A Server says how [Serve] runs the engine. Without a host it opens no port.
type Server struct {
	Host  string // on loopback
	Port  int    // 0 takes any free one
	Token string // that others present
	Key   string // encrypts the files; empty for none
}

// serverMu keeps two servers of a process from starting at once: nats-server sets globals while it starts.
var serverMu sync.Mutex

// Serve runs the engine in this process, with its files in dir. Another process that has opened dir is [ErrInUse].
func Serve(ctx context.Context, dir string, opts Server, c Config) (*JetStream, error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	options := &server.Options{
		ServerName: "fleet", DontListen: true, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true, SyncInterval: time.Second,
	}
	if opts.Host != "" {
		options.DontListen, options.Host, options.Authorization = false, opts.Host, opts.Token
		options.Port = cmp.Or(opts.Port, server.RANDOM_PORT)
	}
	if opts.Key != "" {
		options.JetStreamKey, options.JetStreamCipher = opts.Key, server.ChaCha
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	if err := checkKey(filepath.Join(dir, "key"), opts.Key); err != nil {
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
	c.Options = append(c.Options, nats.InProcessServer(srv), nats.Token(options.Authorization))
	s, err := Dial(ctx, "", c)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	s.stop, s.flush = stop, func() error { return syncFiles(dir) }
	if !options.DontListen {
		s.address = srv.ClientURL()
	}
	return s, nil
}

// lock keeps other processes, and other calls in this one, from opening the store. It ends with the process.
func lock(dir string) (unlock func() error, err error) {
	file := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	locked, err := file.TryLock()
	switch {
	case err != nil:
		return nil, err
	case !locked:
		return nil, ErrInUse
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
	return err
}

func startServer(ctx context.Context, options *server.Options) (*server.Server, error) {
	serverMu.Lock()
	defer serverMu.Unlock()
	srv, err := server.NewServer(options)
	if err != nil {
		return nil, err
	}
	srv.Start()
	deadline, _ := ctx.Deadline()
	if !srv.ReadyForConnections(time.Until(deadline)) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, errors.New("the embedded server did not start: check the store and the port")
	}
	return srv, nil
}

// syncFiles flushes the store to disk, as the server itself does so only from time to time.
func syncFiles(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		mode := os.O_RDWR // Windows flushes only what may be written
		if err == nil && entry.IsDir() {
			if mode = os.O_RDONLY; runtime.GOOS == "windows" {
				return nil // it has no way to flush a folder
			}
		}
		var file *os.File
		if err == nil {
			file, err = os.OpenFile(path, mode, 0)
		}
		if err == nil {
			err = errors.Join(file.Sync(), file.Close())
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server replaces files while it runs
		}
		return err
	})
}
