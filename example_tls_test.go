package tcproom_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"time"

	"example.com/tcproom"
)

// Clients show a certificate, and its name is the member's: nobody can join
// under another.
func ExampleConn_TLS() {
	ca := newAuthority()
	room := tcproom.New(
		tcproom.WithCodec(tcproom.JSON{}),
		tcproom.WithTLS(&tls.Config{
			Certificates: []tls.Certificate{ca.issue("localhost")},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    ca.pool,
		}),
		tcproom.WithHandshake(func(_ context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
			state := n.TLS()
			if state == nil {
				return tcproom.Identity{}, errors.New("TLS only")
			}
			return tcproom.Identity{Name: state.VerifiedChains[0][0].Subject.CommonName}, nil
		}),
	)
	defer room.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go room.Serve(l)

	c, err := tcproom.Dial(context.Background(), l.Addr().String(),
		tcproom.WithCodec(tcproom.JSON{}),
		tcproom.WithName("root"), // what it asks for does not count
		tcproom.WithTLS(&tls.Config{
			ServerName:   "localhost",
			RootCAs:      ca.pool,
			Certificates: []tls.Certificate{ca.issue("ada")},
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ev, _ := c.Receive(context.Background())
	fmt.Println("I am", ev.From.Name, "in the room of", c.TLS().PeerCertificates[0].Subject.CommonName)
	// Output: I am ada in the room of localhost
}

// An authority issues certificates that last an hour.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority() *authority {
	a := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, key := a.sign(template)
	a.key = key
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(name string) tls.Certificate {
	der, key := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// sign signs with a's key or, while it has none, with the new one.
func (a *authority) sign(template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if signer == nil {
		parent, signer = template, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer); err != nil {
		log.Fatal(err)
	}
	return der, key
}
