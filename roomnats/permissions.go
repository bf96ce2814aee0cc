package roomnats

// Permissions returns the subjects that a process must be allowed to publish and to
// subscribe to, for the namespace and the shards of the options; the others do not
// matter. It needs no server. The subscription is for a connection without
// nats.CustomInboxPrefix. It fails for options that cannot work.
func Permissions(opts ...Option) (publish, subscribe []string, err error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, nil, err
	}
	states, leases := bucketStream(c.states()), bucketStream(c.leases())
	followed, all := []string{leases}, []string{states, leases}
	for i := range c.shards {
		publish = append(publish, c.subject(i, "*"))
		followed, all = append(followed, c.stream(i)), append(all, c.stream(i))
	}
	publish = append(publish, bucketSubject(c.states(), ">"), bucketSubject(c.leases(), ">"), api+"INFO", api+"STREAM.PURGE."+states)
	for _, s := range all {
		publish = append(publish, api+"STREAM.INFO."+s, api+"STREAM.CREATE."+s, api+"STREAM.MSG.GET."+s)
	}
	for _, s := range followed {
		publish = append(publish, api+"CONSUMER.CREATE."+s+".>", api+"CONSUMER.MSG.NEXT."+s+".*", api+"CONSUMER.DELETE."+s+".*")
	}
	return publish, []string{"_INBOX.>"}, nil
}
