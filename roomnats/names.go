package roomnats

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"hash/fnv"
	"strings"
)

// maxToken is how long the token of a name may be before its hash stands for it.
const maxToken = 128

// token returns a word of a subject, and of a key, for a name: letters, digits, "_" and
// "-" are themselves, other bytes are "=HH". Names whose token would be too long are "=="
// and a hash, which no other token begins with. Different names have different tokens.
func token(name string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-':
			b.WriteByte(c)
		default:
			b.WriteByte('=')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
		if b.Len() > maxToken {
			sum := sha256.Sum256([]byte(name))
			return "==" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
		}
	}
	return b.String()
}

// shardOf returns in which of n streams the log of a room is.
func shardOf(room string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(room))
	return int(h.Sum32() % uint32(n))
}

func (c *config) stream(shard int) string { return fmt.Sprintf("TCPROOM_%s_%d", c.namespace, shard) }

// subject is that of the log of a room; with "*" as token that of all of the shard.
func (c *config) subject(shard int, token string) string {
	return fmt.Sprintf("tcproom.%s.%d.log.%s", c.namespace, shard, token)
}

// Buckets are streams, whose keys are subjects.
func (c *config) states() string { return "tcproom_" + c.namespace + "_state" }
func (c *config) leases() string { return "tcproom_" + c.namespace + "_nodes" }

func bucketStream(bucket string) string       { return "KV_" + bucket }
func bucketSubject(bucket, key string) string { return "$KV." + bucket + "." + key }
