package fleet

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"io"
	"slices"
	"strings"

	"github.com/zapi-go/zapi/fleet/internal/store"
)

// targets are the instances that a rollout was started for, as the sorted hashes of their keys. They tell the instances that a later
// rollout took over from those whose orders the engine has lost: of neither is there an order of the rollout.
//
// They are stored in parts, each under its own hash, and the entry of the rollout names the parts. So they cannot change behind the entry,
// what is damaged is noticed, and rollouts of the same instances share them.
type targets []uint64

func hashOf(key string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, key)
	return h.Sum64()
}

func (t targets) has(key string) bool {
	_, found := slices.BinarySearch(t, hashOf(key))
	return found
}

// with returns the targets of t and of other.
func (t targets) with(other targets) targets {
	all := slices.Concat(t, other)
	slices.Sort(all)
	return slices.Compact(all)
}

// readTargets reads the parts that the entry of a rollout names. It leaves out those that were lost. An entry of an earlier release names none.
func (f *Fleet) readTargets(ctx context.Context, name, parts string) (targets, error) {
	var all targets
	for key := range strings.FieldsSeq(parts) {
		e, err := f.store.Newest(ctx, store.Targets, key)
		if err != nil {
			return nil, engineError(ctx, "reading the targets", err)
		}
		if contentKey(e.Value) != key {
			f.log.WarnContext(ctx, "targets of a rollout are missing: start it again", "rollout", name)
			continue
		}
		part := make(targets, len(e.Value)/binary.Size(uint64(0)))
		_, _ = binary.Decode(e.Value, binary.BigEndian, []uint64(part)) // it is as it was written
		all = append(all, part...)
	}
	return all, nil
}

// writeTargets stores the targets, and returns the parts for the entry of the rollout.
func (f *Fleet) writeTargets(ctx context.Context, t targets) (string, error) {
	var keys []string
	for part := range slices.Chunk(t, int(f.store.MaxValue())/binary.Size(uint64(0))) {
		data, _ := binary.Append(nil, binary.BigEndian, []uint64(part))
		key := contentKey(data)
		e, err := f.store.Newest(ctx, store.Targets, key)
		if err == nil && contentKey(e.Value) != key {
			err = f.store.Set(ctx, store.Targets, key, data)
		}
		if err != nil {
			return "", engineError(ctx, "writing the targets", err)
		}
		keys = append(keys, key)
	}
	return strings.Join(keys, " "), nil
}
