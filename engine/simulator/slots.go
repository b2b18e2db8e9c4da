package simulator

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// This file is the slots that records may have.

// slotFiller compiles one slot: a name, and behind a colon its argument. A
// "#…" suffix of the name tells two uses apart that would otherwise agree.
func slotFiller(slot string) filler {
	name, arg, _ := strings.Cut(slot, ":")
	base, _, _ := strings.Cut(name, "#")
	key := textHash(slot)
	if build, ok := parametric[base]; ok {
		return build(arg, key)
	}
	if f, ok := plain[base]; ok {
		return f
	}
	panic(fmt.Sprintf("simulator: unknown slot %q", slot))
}

func textHash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

func text(get func(r *record) string) filler {
	return func(dst []byte, r *record) []byte { return append(dst, get(r)...) }
}

// parametric slots take an argument, and a key for their randomness.
var parametric = map[string]func(arg string, key uint64) filler{
	"pick": func(arg string, key uint64) filler { // one of a|b|c
		choices := strings.Split(arg, "|")
		return func(dst []byte, r *record) []byte {
			return append(dst, choices[mix(r.seed^key)%uint64(len(choices))]...)
		}
	},
	"step": func(arg string, _ uint64) filler { // one of a|b|c, in step with other steps of the record
		choices := strings.Split(arg, "|")
		return func(dst []byte, r *record) []byte { return append(dst, choices[r.rank%uint64(len(choices))]...) }
	},
	"guid": func(_ string, key uint64) filler {
		return func(dst []byte, r *record) []byte { return randomGUID(dst, r.seed^key) }
	},
	"fixed": func(_ string, key uint64) filler { // a GUID that is the same in all records of the tenant
		return func(dst []byte, r *record) []byte { return randomGUID(dst, r.w.seed^key) }
	},
	"hex": func(arg string, key uint64) filler {
		n, _ := strconv.Atoi(arg)
		return func(dst []byte, r *record) []byte {
			for left := n; left > 0; left -= 16 {
				dst = appendHex(dst, mix(r.seed^key^uint64(left)), min(left, 16))
			}
			return dst
		}
	},
	"num": func(arg string, key uint64) filler { // lo-hi
		a, b, _ := strings.Cut(arg, "-")
		lo, _ := strconv.ParseUint(a, 10, 64)
		hi, _ := strconv.ParseUint(b, 10, 64)
		return func(dst []byte, r *record) []byte { return strconv.AppendUint(dst, lo+mix(r.seed^key)%(hi-lo+1), 10) }
	},
	"n": func(arg string, _ uint64) filler { // a number that oddity writes as text
		return func(dst []byte, r *record) []byte {
			if r.odd&oddNumbers != 0 {
				return quoted(dst, arg)
			}
			return append(dst, arg...)
		}
	},
	"type": func(arg string, key uint64) filler { // RecordType
		return func(dst []byte, r *record) []byte {
			if r.odd&oddType != 0 {
				return strconv.AppendUint(dst, 400+mix(r.seed^key)%300, 10)
			}
			if r.odd&oddNumbers != 0 {
				return quoted(dst, arg)
			}
			return append(dst, arg...)
		}
	},
	"risk": func(arg string, _ uint64) filler { // hidden without the licence
		return func(dst []byte, r *record) []byte {
			if r.hidden {
				return append(dst, "hidden"...)
			}
			return append(dst, arg...)
		}
	},
	"ago": func(arg string, key uint64) filler { // up to so many seconds before the event, zone-less
		n, _ := strconv.ParseUint(arg, 10, 64)
		return func(dst []byte, r *record) []byte {
			return r.at.Add(-time.Duration(mix(r.seed^key)%(n+1))*time.Second).AppendFormat(dst, "2006-01-02T15:04:05")
		}
	},
	// Of objects, whose record has now as its time, and the start as that of its activity:
	"turn": func(arg string, _ uint64) filler { // 2h:a|b: each so long, from the start
		every, values, _ := strings.Cut(arg, ":")
		d, choices := lengthOf(every), strings.Split(values, "|")
		return func(dst []byte, r *record) []byte {
			return append(dst, choices[int(max(r.at.Sub(r.activity), 0)/d)%len(choices)]...)
		}
	},
	"past": func(arg string, _ uint64) filler { // so long before the start
		d := lengthOf(arg)
		return func(dst []byte, r *record) []byte {
			return r.activity.Add(-d).AppendFormat(dst, "2006-01-02T15:04:05Z")
		}
	},
	"base64": func(arg string, key uint64) filler {
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		n, _ := strconv.Atoi(arg)
		return func(dst []byte, r *record) []byte {
			h := mix(r.seed ^ key)
			for i := range n {
				if i%10 == 9 {
					h = mix(h)
				}
				dst = append(dst, alphabet[h>>(6*(i%10))&63])
			}
			return dst
		}
	},
}

func lengthOf(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		panic(fmt.Sprintf("simulator: %q is no length of time", text))
	}
	return d
}

// state is what a row has become after so many rewritings.
func state(r *record, states ...string) string { return states[r.version%len(states)] }

func quoted(dst []byte, s string) []byte { return append(append(append(dst, '"'), s...), '"') }

func (r *record) port() uint64 { return 49152 + mix(r.seed^0x9047)%16000 }

// tenths is a time down to a tenth of a microsecond, as Graph writes it.
const tenths = "2006-01-02T15:04:05.0000000Z"

// plain slots take no argument.
var plain = map[string]filler{
	"id":        func(dst []byte, r *record) []byte { return append(dst, r.guid[:]...) },
	"time":      func(dst []byte, r *record) []byte { return append(dst, r.stamp[:]...) },
	"timez":     func(dst []byte, r *record) []byte { return append(append(dst, r.stamp[:]...), 'Z') },
	"madez":     func(dst []byte, r *record) []byte { return r.created.AppendFormat(dst, "2006-01-02T15:04:05Z") },
	"time7":     func(dst []byte, r *record) []byte { return r.at.AppendFormat(dst, tenths) },
	"made7":     func(dst []byte, r *record) []byte { return r.created.AppendFormat(dst, tenths) },
	"activity7": func(dst []byte, r *record) []byte { return r.activity.AppendFormat(dst, tenths) },
	"detected7": func(dst []byte, r *record) []byte { return r.detected.AppendFormat(dst, tenths) },
	"sensitive": func(dst []byte, r *record) []byte { return strconv.AppendBool(dst, r.sensitive) },
	"detections": func(dst []byte, r *record) []byte {
		if !r.sensitive {
			return dst
		}
		return append(dst, `,"SensitiveInformationDetections":{"DetectedValues":[{"Name":"4111 1111 1111 1111","Value":"Card number 4111 1111 1111 1111 exp 09/31"}],"ResultsTruncated":false}`...)
	},
	"rowid":     text(func(r *record) string { return r.rowID }),
	"riskstate": text(func(r *record) string { return state(r, "atRisk", "confirmedCompromised", "remediated", "dismissed") }),
	"riskdetail": text(func(r *record) string {
		return state(r, "none", "adminConfirmedUserCompromised", "userPerformedSecuredPasswordReset", "adminDismissedAllRiskForUser")
	}),
	"alertstate":    text(func(r *record) string { return state(r, "new", "inProgress", "resolved") }),
	"incidentstate": text(func(r *record) string { return state(r, "active", "inProgress", "resolved") }),

	"tenant": text(func(r *record) string { return r.w.tenant }),
	"domain": text(func(r *record) string { return r.w.domain }),

	"user":       text(func(r *record) string { return r.user.upn }),
	"name":       text(func(r *record) string { return r.user.name }),
	"slug":       text(func(r *record) string { return r.user.slug }),
	"oid":        text(func(r *record) string { return r.user.oid }),
	"puid":       text(func(r *record) string { return r.user.puid }),
	"sid":        text(func(r *record) string { return r.user.sid }),
	"mailbox":    text(func(r *record) string { return r.user.mailbox }),
	"department": text(func(r *record) string { return r.user.department }),
	"device":     text(func(r *record) string { return r.user.device }),
	"deviceid":   text(func(r *record) string { return r.user.deviceID }),
	"os":         text(func(r *record) string { return r.user.os }),
	"browser":    text(func(r *record) string { return r.user.browser }),
	"agent":      text(func(r *record) string { return r.user.agent }),
	"asn":        text(func(r *record) string { return r.user.asn }),

	"other":     text(func(r *record) string { return r.other.upn }),
	"othername": text(func(r *record) string { return r.other.name }),
	"otheroid":  text(func(r *record) string { return r.other.oid }),
	"otherpuid": text(func(r *record) string { return r.other.puid }),

	"robot":     text(func(r *record) string { return r.robot.name }),
	"robotapp":  text(func(r *record) string { return r.robot.appID }),
	"robotoid":  text(func(r *record) string { return r.robot.objectID }),
	"robotkey":  text(func(r *record) string { return r.robot.keyID }),
	"robotpath": text(func(r *record) string { return r.robot.resource }),
	"app":       text(func(r *record) string { return r.app.name }),
	"appid":     text(func(r *record) string { return r.app.appID }),
	"appoid":    text(func(r *record) string { return r.app.objectID }),

	"city":    text(func(r *record) string { return r.place.Name }),
	"state":   text(func(r *record) string { return r.place.State }),
	"country": text(func(r *record) string { return r.place.Country }),
	"lat":     text(func(r *record) string { return r.place.Lat }),
	"lon":     text(func(r *record) string { return r.place.Lon }),

	"bareip": text(func(r *record) string { return r.ip }),
	"ip": func(dst []byte, r *record) []byte { // a whole JSON value
		switch {
		case r.odd&oddNullIP != 0:
			return append(dst, "null"...)
		case r.odd&oddPort != 0:
			return append(appendHostPort(append(dst, '"'), r), '"')
		}
		return quoted(dst, r.ip)
	},
	"ipport": func(dst []byte, r *record) []byte { return appendHostPort(dst, r) },

	"file": func(dst []byte, r *record) []byte {
		h := mix(r.seed ^ 0xf11e)
		dst = append(append(dst, company.Files[h%uint64(len(company.Files))]...), ' ')
		dst = append(strconv.AppendUint(dst, h>>16%400, 10), '.')
		return append(dst, company.Extensions[h>>40%uint64(len(company.Extensions))]...)
	},
	"ext": func(dst []byte, r *record) []byte {
		return append(dst, company.Extensions[mix(r.seed^0xf11e)>>40%uint64(len(company.Extensions))]...)
	},
	"site": oneOf(&company.Sites, 0x517e),
	"team": oneOf(&company.Teams, 0x7ea4),
	"teamid": func(dst []byte, r *record) []byte {
		return appendHex(dst, mix(r.w.seed^mix(r.seed^0x7ea4)%uint64(len(company.Teams))), 16)
	},
	"subject": oneOf(&company.Subjects, 0x5b9),
}

// oneOf is one of a list that is read later.
func oneOf(list *[]string, salt uint64) filler {
	return func(dst []byte, r *record) []byte {
		return append(dst, (*list)[mix(r.seed^salt)%uint64(len(*list))]...)
	}
}

func appendHostPort(dst []byte, r *record) []byte {
	if strings.Contains(r.ip, ":") {
		dst = append(append(append(dst, '['), r.ip...), ']')
	} else {
		dst = append(dst, r.ip...)
	}
	return strconv.AppendUint(append(dst, ':'), r.port(), 10)
}
