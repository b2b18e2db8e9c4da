package simulator

import (
	"fmt"
	"strings"
)

// world is the made-up company behind the tenant: its people, their devices
// and addresses, its applications, teams and files. It is fixed by the seed.
type world struct {
	calm   bool // nobody attacks it
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

type city struct{ name, state, country, lat, lon string }

var cities = []city{
	{"Auckland", "Auckland", "NZ", "-36.85", "174.76"},
	{"Wellington", "Wellington", "NZ", "-41.29", "174.78"},
	{"Christchurch", "Canterbury", "NZ", "-43.53", "172.64"},
	{"Hamilton", "Waikato", "NZ", "-37.79", "175.28"},
	{"Dunedin", "Otago", "NZ", "-45.88", "170.5"},
	{"Sydney", "New South Wales", "AU", "-33.87", "151.21"},
	{"Melbourne", "Victoria", "AU", "-37.81", "144.96"},
	{"Brisbane", "Queensland", "AU", "-27.47", "153.03"},
	{"Singapore", "Central Singapore", "SG", "1.29", "103.85"},
	{"London", "Greater London", "GB", "51.51", "-0.13"},
	{"Denver", "Colorado", "US", "39.74", "-104.98"},
}

// farAway is where the attackers of our stories seem to be.
var farAway = []city{
	{"Vilnius", "Vilniaus", "LT", "54.69", "25.28"},
	{"Lagos", "Lagos", "NG", "6.45", "3.39"},
	{"Bucharest", "Bucuresti", "RO", "44.43", "26.1"},
	{"Amsterdam", "Noord-Holland", "NL", "52.37", "4.9"},
}

var givenNames = strings.Fields(`Aroha Ben Charlotte Daniel Eru Fiona George Hana Isaac Jasmine Kahu Liam Mere Noah Olivia
	Pita Quentin Ruby Sione Tama Ursula Vikram Wiremu Xanthe Yusuf Zoe Amelia Bruno Chloe Dev`)

var familyNames = strings.Fields(`Anderson Brown Campbell Davis Edwards Faleolo Grant Harris Ito Jones Kaur Lee Martin Ngata
	Ormsby Parata Quinn Reid Singh Taylor Uili Vaughan Walker Xu Young Zhang Mitchell Patel Robinson Smith`)

var departments = []string{"Finance", "Sales", "Operations", "People", "Legal", "Engineering", "IT", "Marketing", "Warehouse", "Executive"}

var devices = []struct{ prefix, os, browser, agent string }{
	{"LT", "Windows 11", "Edge 131.0.0", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0"},
	{"LT", "Windows 10", "Chrome 130.0.0", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"},
	{"MB", "MacOs", "Safari 18.1", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15"},
	{"IP", "Ios 18.1", "Mobile Safari", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"},
	{"AN", "Android 15", "Chrome Mobile 131.0.0", "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36"},
}

const companyDomain = "kaurifreight.example"

func newWorld(seed uint64, tenant string) *world {
	w := &world{seed: seed, tenant: tenant, domain: companyDomain}
	taken := map[string]bool{}
	for i := uint64(0); len(w.people) < 200; i++ {
		h := mix(seed ^ 0x9e09 ^ i<<16)
		given, family := givenNames[h%uint64(len(givenNames))], familyNames[h>>20%uint64(len(familyNames))]
		slug := strings.ToLower(given + "." + family)
		if taken[slug] {
			continue
		}
		taken[slug] = true
		n := uint64(len(w.people))
		d := &devices[h>>40%uint64(len(devices))]
		p := person{
			name:       given + " " + family,
			slug:       strings.ReplaceAll(slug, ".", "_"),
			upn:        slug + "@" + w.domain,
			oid:        guidText(h ^ 1),
			puid:       fmt.Sprintf("10032%011X", mix(h^2)>>20),
			sid:        fmt.Sprintf("S-1-5-21-%d-%d-%d-%d", mix(seed^3)>>33, mix(seed^4)>>33, mix(seed^5)>>33, 1000+n),
			mailbox:    guidText(h ^ 6),
			department: departments[h>>28%uint64(len(departments))],
			device:     fmt.Sprintf("KF-%s-%04d", d.prefix, 1000+n*7%9000),
			deviceID:   guidText(h ^ 7),
			os:         d.os, browser: d.browser, agent: d.agent,
			place: &cities[min(mix(h^8)%16, mix(h^9)%16)%uint64(len(cities))],
			ip:    fmt.Sprintf("203.0.113.%d", 1+n%254),
			ip6:   fmt.Sprintf("2001:db8:%x::%x", n%16, 0x10+n),
			asn:   fmt.Sprint(64496 + n%8),
		}
		if n%2 == 1 {
			p.ip = fmt.Sprintf("192.0.2.%d", 1+n%254)
		}
		w.people = append(w.people, p)
	}
	for i, name := range []string{"Azure Portal", "Office 365 Exchange Online", "Microsoft Teams", "Office 365 SharePoint Online",
		"Microsoft Office", "OfficeHome", "Microsoft Azure PowerShell", "Outlook Mobile", "Freight Tracker", "Payroll Hub"} {
		h := mix(seed ^ 0xa44 ^ uint64(i)<<8)
		w.apps = append(w.apps, principal{name: name, appID: guidText(h), objectID: guidText(h ^ 1), keyID: guidText(h ^ 2), resource: name})
	}
	w.apps[0].appID = "c44b4083-3bb0-49c1-b47d-974e53cbdf3c" // the well-known id of the Azure Portal
	for i, name := range []string{"nightly-sync", "backup-vault", "hr-feed", "ci-deploy", "invoice-bot", "freight-api", "iam-audit",
		"mail-archiver", "report-exporter", "badge-reader", "crm-bridge", "monitoring"} {
		h := mix(seed ^ 0x40b ^ uint64(i)<<8)
		w.robots = append(w.robots, principal{name: name, appID: guidText(h), objectID: guidText(h ^ 1), keyID: guidText(h ^ 2)})
	}
	for i, name := range []string{"vm-batch-01", "func-tracking", "aks-freight", "logic-approvals", "vm-build-02", "app-portal"} {
		h := mix(seed ^ 0xb07 ^ uint64(i)<<8)
		w.boxes = append(w.boxes, principal{name: name, appID: guidText(h), objectID: guidText(h ^ 1), keyID: guidText(h ^ 2),
			resource: "/subscriptions/" + guidText(seed^0x5b) + "/resourcegroups/rg-freight/providers/Microsoft.Compute/virtualMachines/" + name})
	}
	return w
}

// story is what happens in one hour of the company's life, told by every feed
// that could see it: in every fourth hour somebody sprays passwords from one
// address, gets in as the victim, hides their tracks with an inbox rule, and
// downloads the victim's files.
type story struct {
	victim *person
	ip     string
	place  *city
}

// storyAt is the story under way at a time, and its minute; nil when the hour
// is quiet.
func (w *world) storyAt(unix int64) (*story, int64) {
	if w.calm {
		return nil, 0
	}
	hour := unix / 3600
	h := mix(w.seed ^ 0x5709 ^ uint64(hour))
	if h%4 != 0 {
		return nil, 0
	}
	return &story{
		victim: &w.people[h>>8%uint64(len(w.people))],
		ip:     attackIPs[h>>40%uint64(len(attackIPs))],
		place:  &farAway[h>>50%uint64(len(farAway))],
	}, unix % 3600 / 60
}

var attackIPs = func() (ips []string) {
	for i := range 64 {
		ips = append(ips, fmt.Sprintf("198.51.100.%d", 10+i*3))
	}
	return ips
}()

var fileNames = []string{"Q3 forecast", "Payroll run", "Driver roster", "Customer list", "Contract draft", "Board paper", "Route plan",
	"Incident report", "Rate card", "Onboarding checklist", "Warehouse map", "Insurance claim", "Budget", "Minutes", "Tender response"}

var fileExtensions = []string{"xlsx", "docx", "pptx", "pdf", "csv", "txt", "zip"}

var siteNames = []string{"Finance", "Sales", "Operations", "People", "Legal", "Projects", "Board", "Fleet"}

var teamNames = []string{"Project Tui", "Fleet Renewal", "Night Shift", "Customer Care", "Safety", "Finance Close", "Executive Team"}

var subjects = []string{"Re: Delivery delay", "Invoice 10482", "Lunch on Friday?", "Your parcel could not be delivered", "Minutes of the meeting",
	"Rate card 2027", "Password expires today", "Fwd: Customs papers", "Shift swap", "Weekly numbers"}
