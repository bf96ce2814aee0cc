package roomnats

import "time"

func init() { firstWithin = 300 * time.Millisecond }
