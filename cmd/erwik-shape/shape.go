//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"syscall"
)

// The limit is a tree at the sending end of an interface: what no filter
// picks leaves at once, the rest through one class with the rate, whose queue
// is long enough never to drop what TCP has under way.
const (
	rootMajor  = 1
	slowMinor  = 0x20
	queueMajor = 0x20
	quantum    = 1540 // bytes that a turn of the class may take: one packet
	burst      = 64   // bytes that pass at once after a silence, beside one packet
	anyMask    = math.MaxUint32
	ipDst      = 16 // offset of the destination in an IPv4 header
)

// uplinks returns the interfaces that lead anywhere: up, and not the loopback.
func uplinks() ([]netlink.Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	return slices.DeleteFunc(links, func(l netlink.Link) bool {
		flags := l.Attrs().Flags
		return flags&net.FlagUp == 0 || flags&net.FlagLoopback != 0
	}), nil
}

// attached reports whether the namespace still leads anywhere.
func attached() (bool, error) {
	links, err := uplinks()
	return len(links) > 0, err
}

// shape makes what is sent to the addresses slow, and reports whether anything
// had to be changed. All addresses share the rate, in bits a second.
func shape(to []netip.Addr, rate uint64) (changed bool, err error) {
	by := make(map[int][]netip.Addr) // by interface
	for _, a := range to {
		routes, err := netlink.RouteGet(a.AsSlice())
		if err != nil || len(routes) == 0 {
			return changed, fmt.Errorf("find the way to %s: %w", a, errors.Join(err, errNoWay(len(routes))))
		}
		by[routes[0].LinkIndex] = append(by[routes[0].LinkIndex], a)
	}
	for index, addresses := range by {
		link, err := netlink.LinkByIndex(index)
		if err != nil {
			return changed, fmt.Errorf("find interface %d: %w", index, err)
		}
		if found, ok := limited(link, rate); ok && slices.Equal(found, addresses) {
			continue
		}
		changed = true
		if err := limit(link, addresses, rate); err != nil {
			return changed, fmt.Errorf("limit on %s: %w", link.Attrs().Name, err)
		}
	}
	return changed, nil
}

func errNoWay(routes int) error {
	if routes == 0 {
		return errors.New("no route")
	}
	return nil
}

// limited returns the addresses that are limited on an interface, in order,
// and whether the limit is the one that limit makes.
func limited(link netlink.Link, rate uint64) (to []netip.Addr, ok bool) {
	root := netlink.MakeHandle(rootMajor, 0)
	classes, err := netlink.ClassList(link, root)
	if err != nil {
		return nil, false
	}
	right := slices.ContainsFunc(classes, func(c netlink.Class) bool {
		htb, is := c.(*netlink.HtbClass)
		return is && htb.Handle == netlink.MakeHandle(rootMajor, slowMinor) && (rate == 0 || htb.Rate == rate/8)
	})
	filters, err := netlink.FilterList(link, root)
	if err != nil || !right {
		return nil, false
	}
	for _, f := range filters {
		if u, is := f.(*netlink.U32); is && u.Sel != nil && len(u.Sel.Keys) == 1 {
			to = append(to, netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, u.Sel.Keys[0].Val))))
		}
	}
	slices.SortFunc(to, netip.Addr.Compare)
	return to, len(to) > 0
}

// limit builds the tree anew.
func limit(link netlink.Link, to []netip.Addr, rate uint64) error {
	if err := clear(link); err != nil {
		return err
	}
	// A packet that the card would cut into many counts as one for the bucket.
	if err := netlink.LinkSetGSOMaxSegs(link, 1); err != nil {
		return fmt.Errorf("turn segmentation off: %w", err)
	}
	at := link.Attrs().Index
	root, slow := netlink.MakeHandle(rootMajor, 0), netlink.MakeHandle(rootMajor, slowMinor)
	err := netlink.QdiscAdd(netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: at, Handle: root, Parent: netlink.HANDLE_ROOT}))
	if err != nil {
		return fmt.Errorf("add the root: %w", err)
	}
	err = netlink.ClassAdd(netlink.NewHtbClass(netlink.ClassAttrs{LinkIndex: at, Handle: slow, Parent: root},
		netlink.HtbClassAttrs{Rate: rate, Ceil: rate, Buffer: burst, Cbuffer: burst, Quantum: quantum}))
	if err != nil {
		return fmt.Errorf("add the slow class: %w", err)
	}
	err = netlink.QdiscAdd(&netlink.GenericQdisc{QdiscType: "bfifo",
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: at, Handle: netlink.MakeHandle(queueMajor, 0), Parent: slow}})
	if err != nil {
		return fmt.Errorf("add the queue: %w", err)
	}
	for _, a := range to {
		address := a.As4()
		err := netlink.FilterAdd(&netlink.U32{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: at, Parent: root, Priority: 1, Protocol: syscall.ETH_P_IP},
			ClassId:     slow,
			Sel: &netlink.TcU32Sel{Flags: netlink.TC_U32_TERMINAL, Keys: []netlink.TcU32Key{
				{Mask: anyMask, Val: binary.BigEndian.Uint32(address[:]), Off: ipDst}}},
		})
		if err != nil {
			return fmt.Errorf("add the filter for %s: %w", a, err)
		}
	}
	return nil
}

// clear removes a tree whose root is ours or a part of ours.
func clear(link netlink.Link) error {
	qdiscs, err := netlink.QdiscList(link)
	if err != nil {
		return fmt.Errorf("list queues: %w", err)
	}
	for _, q := range qdiscs {
		a := q.Attrs()
		if a.Parent != netlink.HANDLE_ROOT || a.Handle == 0 { // handle 0: the kernel's own, which can't be removed
			continue
		}
		if err := netlink.QdiscDel(q); err != nil {
			return fmt.Errorf("remove the root: %w", err)
		}
	}
	return nil
}

// lift removes every limit.
func lift() error {
	links, err := uplinks()
	if err != nil {
		return err
	}
	for _, l := range links {
		if _, ok := limited(l, 0); !ok {
			continue
		}
		if err := clear(l); err != nil {
			return fmt.Errorf("lift the limit on %s: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

// checkShaped tells why no limit is in place.
func checkShaped() error {
	links, err := uplinks()
	if err != nil {
		return err
	}
	if len(links) == 0 {
		return errors.New("this network namespace has no interface any more")
	}
	for _, l := range links {
		if _, ok := limited(l, 0); ok {
			return nil
		}
	}
	return errors.New("no limit is in place")
}
