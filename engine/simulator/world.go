package simulator

import (
	"fmt"
	"strings"
)

// world is the made-up company behind the tenant: its people, their devices
// and addresses, its applications, teams and files. It is fixed by the seed.
type world struct {
	calm   bool // nothing alarming happens
	seed   uint64
	tenant string
	domain string
	people []person
	apps   []principal // applications people sign in to
	robots []principal // service principals
	boxes  []principal // managed identities
}

// person is one user, with everything a record may say of them as ready text.
type person struct {
	name, upn, slug, oid, puid, sid, mailbox string
	department                               string
	device, deviceID, os, browser, agent     string
	place                                    *city
	ip, ip6                                  string
	asn                                      string
}

// principal is an application, a service principal or a managed identity.
type principal struct {
	name, appID, objectID, keyID, resource string
}

type city struct{ Name, State, Country, Lat, Lon string }

// cast is what worlds are made of: records/world.yaml.
type cast struct {
	Cities, Far                               []city
	Given, Family, Departments                []string
	Devices                                   []struct{ Prefix, OS, Browser, Agent string }
	Apps, Robots, Boxes                       []string
	Files, Extensions, Sites, Teams, Subjects []string
}

const companyDomain = "kaurifreight.example"

func newWorld(seed uint64, tenant string) *world {
	w, of := &world{seed: seed, tenant: tenant, domain: companyDomain}, company
	taken := map[string]bool{}
	for i := uint64(0); len(w.people) < 200; i++ {
		h := mix(seed ^ 0x9e09 ^ i<<16)
		given, family := of.Given[h%uint64(len(of.Given))], of.Family[h>>20%uint64(len(of.Family))]
		slug := strings.ToLower(given + "." + family)
		if taken[slug] {
			continue
		}
		taken[slug] = true
		n := uint64(len(w.people))
		d := &of.Devices[h>>40%uint64(len(of.Devices))]
		p := person{
			name:       given + " " + family,
			slug:       strings.ReplaceAll(slug, ".", "_"),
			upn:        slug + "@" + w.domain,
			oid:        guidText(h ^ 1),
			puid:       fmt.Sprintf("10032%011X", mix(h^2)>>20),
			sid:        fmt.Sprintf("S-1-5-21-%d-%d-%d-%d", mix(seed^3)>>33, mix(seed^4)>>33, mix(seed^5)>>33, 1000+n),
			mailbox:    guidText(h ^ 6),
			department: of.Departments[h>>28%uint64(len(of.Departments))],
			device:     fmt.Sprintf("KF-%s-%04d", d.Prefix, 1000+n*7%9000),
			deviceID:   guidText(h ^ 7),
			os:         d.OS, browser: d.Browser, agent: d.Agent,
			place: &of.Cities[min(mix(h^8)%16, mix(h^9)%16)%uint64(len(of.Cities))],
			ip:    fmt.Sprintf("203.0.113.%d", 1+n%254),
			ip6:   fmt.Sprintf("2001:db8:%x::%x", n%16, 0x10+n),
			asn:   fmt.Sprint(64496 + n%8),
		}
		if n%2 == 1 {
			p.ip = fmt.Sprintf("192.0.2.%d", 1+n%254)
		}
		w.people = append(w.people, p)
	}
	principals := func(salt uint64, names []string) (list []principal) {
		for i, name := range names {
			h := mix(seed ^ salt ^ uint64(i)<<8)
			list = append(list, principal{name: name, appID: guidText(h), objectID: guidText(h ^ 1), keyID: guidText(h ^ 2)})
		}
		return list
	}
	w.apps, w.robots, w.boxes = principals(0xa44, of.Apps), principals(0x40b, of.Robots), principals(0xb07, of.Boxes)
	w.apps[0].appID = "c44b4083-3bb0-49c1-b47d-974e53cbdf3c" // the well-known id of the Azure Portal
	for i := range w.boxes {
		w.boxes[i].resource = "/subscriptions/" + guidText(seed^0x5b) + "/resourcegroups/rg-freight/providers/Microsoft.Compute/virtualMachines/" + w.boxes[i].name
	}
	return w
}

var attackIPs = func() (ips []string) {
	for i := range 64 {
		ips = append(ips, fmt.Sprintf("198.51.100.%d", 10+i*3))
	}
	return ips
}()
