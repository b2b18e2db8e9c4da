// Runs a PowerShell script against a tenant of the tests: an interpreter of what
// setup/*.ps1 use of the language, strict mode on, and a stand-in for the cmdlets
// that they call. It is not PowerShell; where versions differ it does what is
// harder on a script: as Windows PowerShell 5.1 it writes times in JSON in a form
// of its own, and it has the calendar and the separators of PS_CULTURE.
//
//   node --liftoff-only powershell-run.mjs MODULES SCRIPT ARGUMENT...     (optimising the grammar takes longer than all else)
//
// SETUP_TEST_TENANT_URL  where Microsoft Graph is          SETUP_TEST_AZ_LOG   takes a line for each cmdlet that acts
// PS_MODULE_VERSION      of Microsoft.Graph; none: absent   PS_CULTURE          th-TH, fi-FI, else the invariant one
import { readFileSync, writeFileSync, appendFileSync, existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { X509Certificate } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import path from 'node:path';

const [modules, file, ...args] = process.argv.slice(2);
const require = createRequire(modules + '/');
const { Parser, Language } = require('web-tree-sitter');
const env = process.env;

// --- values ---

class Dictionary extends Map {} // a hashtable; keys in lower case hold [name, value]
class Item { constructor(fields) { this.fields = fields; } } // an object with properties
class Time { constructor(ms) { this.ms = ms; } }
class Block { constructor(node) { this.node = node; } }
class Type { constructor(name) { this.name = name; } }
const nothing = undefined; // what a command gives that gives nothing

class Failure extends Error { // an error that PowerShell can catch
  constructor(message, details) { super(message); this.record = new Item({ Exception: new Item({ Message: message }), ErrorDetails: details === undefined ? null : new Item({ Message: details }) }); }
}
class Leave { constructor(kind, value) { this.kind = kind; this.value = value; } } // return, break, continue, exit

const fail = (message) => { throw new Failure(message); };
const log = (line) => appendFileSync(env.SETUP_TEST_AZ_LOG, line + '\n');
const say = (text) => process.stderr.write(text + '\n');

const truth = (v) => Array.isArray(v) ? (v.length === 1 ? truth(v[0]) : v.length > 1) : !(v === nothing || v === null || v === false || v === 0 || v === '');
const list = (v) => Array.isArray(v) ? v : v === nothing ? [] : [v];
const fold = (v) => typeof v === 'string' ? v.toLowerCase() : v instanceof Time ? v.ms : v;
const same = (a, b) => typeof a === 'string' && !(b instanceof Time) ? fold(a) === fold(text(b)) : fold(a ?? null) === fold(b ?? null);

function text(v) {
  if (v === nothing || v === null) return '';
  if (v === true) return 'True';
  if (v === false) return 'False';
  if (Array.isArray(v)) return v.map(text).join(' ');
  if (v instanceof Time) return format(v, "MM/dd/yyyy HH:mm:ss", true);
  if (v !== null && Object.hasOwn(v, 'toString')) return v.toString();
  if (v instanceof Item || v instanceof Dictionary) fail('an object is put into text: ' + JSON.stringify(v));
  return String(v);
}

// A time by a format of .NET. Without the invariant culture it comes as this machine would write it.
function format(time, pattern, invariant) {
  const d = new Date(time.ms), two = (n) => String(n).padStart(2, '0');
  const culture = invariant ? '' : env.PS_CULTURE ?? '';
  const year = d.getUTCFullYear() + (culture === 'th-TH' ? 543 : 0);
  const parts = { yyyy: year, MM: two(d.getUTCMonth() + 1), dd: two(d.getUTCDate()), HH: two(d.getUTCHours()), mm: two(d.getUTCMinutes()), ss: two(d.getUTCSeconds()), ':': culture === 'fi-FI' ? '.' : ':' };
  return pattern.replace(/'([^']*)'|yyyy|MM|dd|HH|mm|ss|:/g, (part, literal) => literal ?? parts[part]);
}

function cast(type, v) {
  const name = type.toLowerCase();
  if (name.endsWith('[]')) return list(v ?? nothing).map((x) => cast(type.slice(0, -2), x));
  switch (name) {
    case 'string': return text(v);
    case 'int': return /^-?\d+$/.test(text(v)) ? Number(v) : fail(`"${text(v)}" is no number`);
    case 'switch': return truth(v);
    case 'datetime': {
      if (v instanceof Time) return v;
      const ms = Date.parse(text(v));
      return Number.isNaN(ms) ? fail(`String '${text(v)}' was not recognized as a valid DateTime.`) : new Time(ms);
    }
    case 'pscustomobject': return new Item(Object.fromEntries(v.values()));
  }
  return fail(`the interpreter knows no type [${type}]`);
}

// What JSON gives: objects, and times where a text is one, as the module does.
function fromJson(v) {
  if (Array.isArray(v)) return v.map(fromJson);
  if (v && typeof v === 'object') return new Item(Object.fromEntries(Object.entries(v).map(([k, x]) => [k, fromJson(x)])));
  return typeof v === 'string' && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(v) ? new Time(Date.parse(v)) : v;
}

function toJson(v, depth) {
  if (depth < 0) fail('ConvertTo-Json: -Depth is too small');
  if (v === nothing) return null;
  if (Array.isArray(v)) return v.map((x) => toJson(x, depth - 1));
  if (v instanceof Time) return `/Date(${v.ms})/`;
  if (v instanceof Dictionary) return Object.fromEntries([...v.values()].map(([k, x]) => [k, toJson(x, depth - 1)]));
  if (v instanceof Item) return Object.fromEntries(Object.entries(v.fields).map(([k, x]) => [k, toJson(x, depth - 1)]));
  return v;
}

// --- members ---

function member(v, name) {
  const key = name.toLowerCase();
  if (v instanceof Dictionary && v.has(key)) return v.get(key)[1];
  if (v instanceof Item) {
    if (key === 'psobject') {
      const properties = Object.entries(v.fields).map(([Name, Value]) => new Item({ Name, Value }));
      return new Item({ Properties: Object.assign(properties, { named: (n) => properties.find((p) => p.fields.Name.toLowerCase() === n.toLowerCase()) ?? null }) });
    }
    const found = Object.keys(v.fields).find((k) => k.toLowerCase() === key);
    if (found !== undefined) return v.fields[found];
  }
  if ((Array.isArray(v) || typeof v === 'string') && (key === 'count' || key === 'length')) return v.length;
  if (v instanceof Type && statics[`${v.name}.${name}`.toLowerCase()]) return statics[`${v.name}.${name}`.toLowerCase()];
  return fail(`The property '${name}' cannot be found on this object.`); // as strict mode does
}

const invariant = { invariant: true };
const statics = {
  'globalization.cultureinfo.invariantculture': invariant,
  'stringcomparison.ordinal': 'Ordinal',
  'text.encoding.ascii': new Item({ GetString: (bytes) => bytes.toString('latin1') }),
  'uri.escapedatastring': (s) => encodeURIComponent(text(s)).replace(/[!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase()),
  'io.file.readallbytes': (f) => readFileSync(f),
  'io.file.readalllines': (f) => readFileSync(f, 'utf8').replace(/\r?\n$/, '').split(/\r?\n/),
  'io.file.writealltext': (f, s) => { writeFileSync(f, s); },
  'convert.frombase64string': (s) => Buffer.from(s, 'base64'),
  'convert.tobase64string': (b) => b.toString('base64'),
};

function call(target, name, values) {
  const key = name.toLowerCase();
  if (target instanceof Type) return (statics[`${target.name}.${name}`.toLowerCase()] ?? fail(`the interpreter knows no [${target.name}]::${name}`))(...values);
  if (typeof target === 'string') {
    if (key === 'startswith') return values[1] === 'Ordinal' ? target.startsWith(values[0]) : fail('StartsWith without a comparison depends on the culture');
    if (key === 'substring') return target.slice(values[0]);
  }
  if (target instanceof Time) {
    if (key === 'touniversaltime') return target;
    if (key === 'addmonths') { // a month with fewer days ends it
      const d = new Date(target.ms), day = d.getUTCDate();
      d.setUTCMonth(d.getUTCMonth() + values[0]);
      if (d.getUTCDate() !== day) d.setUTCDate(0);
      return new Time(d.getTime());
    }
    if (key === 'tostring') return format(target, values[0], values[1] === invariant);
  }
  const method = member(target, name);
  return typeof method === 'function' ? method(...values) : fail(`the interpreter knows no method ${name}`);
}

// --- commands: each takes its named parameters, the others, and what comes through the pipeline ---

const bases = { Global: 'https://graph.microsoft.com', USGov: 'https://graph.microsoft.us', USGovDoD: 'https://dod-graph.microsoft.us', China: 'https://microsoftgraph.chinacloudapi.cn' };
let base = null, tenant = '';

const commands = {
  'set-strictmode': () => [],
  'get-command': (p) => env.PS_MODULE_VERSION ? [new Item({ Version: Object.assign(new Item({ Major: parseInt(env.PS_MODULE_VERSION) }), { toString: () => env.PS_MODULE_VERSION }) })] : [],
  'get-date': () => [new Time(Date.now())],
  'connect-mggraph': (p) => {
    base = bases[p.environment] ?? fail(`no environment ${p.environment}`);
    tenant = p.tenantid ?? '11111111-2222-4333-8444-555555555555';
    log(`Connect-MgGraph ${p.environment} ${list(p.scopes).join(',')}${p.usedevicecode ? ' device code' : ''}`);
    return [];
  },
  'get-mgcontext': () => [new Item({ TenantId: tenant })],
  'invoke-mggraphrequest': async (p) => {
    if (base === null) fail('Authentication needed. Please call Connect-MgGraph.');
    if (!p.uri.startsWith('/v1.0/') || p.outputtype !== 'PSObject' || (p.body !== undefined && p.contenttype !== 'application/json')) fail('not a call that Graph takes');
    const answer = await fetch(env.SETUP_TEST_TENANT_URL + p.uri, { method: p.method, body: p.body, headers: { 'X-Meant-For': base } });
    const body = await answer.text();
    if (!answer.ok) throw new Failure(`Response status code does not indicate success: ${answer.status}.`, body);
    return body ? list(fromJson(JSON.parse(body))) : [];
  },
  'convertto-json': (p, [value]) => [JSON.stringify(toJson(value, p.depth))],
  'where-object': async (p, [block], input) => { const kept = []; for (const v of input) if (truth(value(await run(block, v)))) kept.push(v); return kept; },
  'foreach-object': async (p, [block], input) => { const out = []; for (const v of input) out.push(...await run(block, v)); return out; },
  'sort-object': async (p, _, input) => {
    const keyed = [];
    for (const v of input) keyed.push([fold(value(await run(p.property, v))), v]);
    keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (p.descending ? -1 : 1));
    return keyed.map(([, v]) => v);
  },
  'select-object': (p, _, input) => [...new Set(input)],
  'out-null': () => [],
  'write-output': (p, values, input) => [...input, ...values.flatMap(list)],
  'write-host': (p, values) => { say(values.map(text).join(' ')); return []; },
  'write-warning': (p, values) => { say('WARNING: ' + text(values[0])); return []; },
  'start-sleep': (p) => { log(`Start-Sleep ${p.seconds}`); return []; },
  'join-path': (p) => [path.join(p.path, p.childpath)],
  'split-path': (p) => [path.dirname(p.path)],
  'test-path': (p) => [existsSync(p.literalpath) && (p.pathtype !== 'Leaf' || statSync(p.literalpath).isFile())],
  'move-item': (p) => { renameSync(p.literalpath, p.destination); return []; },
  'remove-item': (p) => { rmSync(p.literalpath); return []; },
  'new-object': (p) => {
    if (p.typename === 'Text.UTF8Encoding') return [new Item({})];
    if (!p.typename.endsWith('X509Certificate2')) fail(`the interpreter makes no ${p.typename}`);
    const made = new X509Certificate(p.argumentlist[0]);
    return [new Item({ NotAfter: new Time(Date.parse(made.validTo)), RawData: made.raw })];
  },
};
// Where a command's first argument without a name goes.
const positions = { 'sort-object': ['property'] };
const switches = ['leaf', 'force', 'descending', 'parent', 'compress', 'nowelcome', 'usedevicecode'];

// --- the language ---

let scope = { names: new Map(), types: new Map(), parent: null };
const functions = new Map();

function lookup(name) {
  if (name.startsWith('env:')) return env[name.slice(4).toUpperCase()] ?? null;
  for (let s = scope; s; s = s.parent) if (s.names.has(name)) return s.names.get(name);
  return fail(`The variable '$${name}' cannot be retrieved because it has not been set.`);
}

function assign(name, v, type) {
  if (type) scope.types.set(name, type);
  const known = scope.types.get(name);
  scope.names.set(name, known ? cast(known, v) : v === nothing ? null : v);
}

const variable = (node) => node.text.replace(/^[$@]\{?/, '').replace(/\}$/, '').toLowerCase();
const value = (out) => out.length === 0 ? nothing : out.length === 1 ? out[0] : out;
const named = (node, ...types) => node.children.filter((child) => types.includes(child.type));
const typeName = (node) => node.text.replace(/^\[|\]$/g, '');

async function run(block, item) {
  const before = scope.names.has('_') ? [scope.names.get('_')] : null;
  scope.names.set('_', item);
  try { return await statements(block.node); } finally { before ? scope.names.set('_', before[0]) : scope.names.delete('_'); }
}

async function statements(node) {
  const out = [];
  for (const child of node.children) out.push(...await statement(child));
  return out;
}

async function statement(node) {
  switch (node.type) {
    case 'statement_list': case 'statement_block': case 'script_block': case 'script_block_body': return statements(node);
    case 'pipeline': return pipeline(node);
    case 'function_statement': functions.set(named(node, 'function_name')[0].text.toLowerCase(), node); return [];
    case 'if_statement': {
      const [condition] = named(node, 'pipeline'), [block] = named(node, 'statement_block');
      if (truth(value(await pipeline(condition)))) return statements(block);
      for (const clause of node.descendantsOfType('elseif_clause').filter((c) => c.parent.parent.id === node.id || c.parent.id === node.id)) {
        if (truth(value(await pipeline(named(clause, 'pipeline')[0])))) return statements(named(clause, 'statement_block')[0]);
      }
      const [other] = named(node, 'else_clause');
      return other ? statements(named(other, 'statement_block')[0]) : [];
    }
    case 'foreach_statement': {
      const out = [], [over] = named(node, 'pipeline'), name = variable(named(node, 'variable')[0]);
      for (const v of list(value(await pipeline(over)))) {
        assign(name, v);
        if (await loop(node, out)) break;
      }
      return out;
    }
    case 'for_statement': {
      const out = [], part = async (type) => { const [found] = named(node, type); return found ? value(await pipeline(named(found, 'pipeline')[0])) : true; };
      for (await part('for_initializer'); truth(await part('for_condition')); await part('for_iterator')) if (await loop(node, out)) break;
      return out;
    }
    case 'try_statement': {
      const [block] = named(node, 'statement_block'), [clauses] = named(node, 'catch_clauses'), [last] = named(node, 'finally_clause');
      try { return await statements(block); } catch (error) {
        if (!(error instanceof Failure) || !clauses) throw error;
        const before = scope.names.get('_');
        scope.names.set('_', error.record);
        scope.failure = error;
        try { return await statements(named(clauses.children[0], 'statement_block')[0]); } finally { scope.names.set('_', before); }
      } finally { if (last) await statements(named(last, 'statement_block')[0]); }
    }
    case 'flow_control_statement': {
      const [word, of] = node.children;
      const out = of ? await pipeline(of) : [];
      if (word.text === 'throw') throw of ? new Failure(text(value(out))) : scope.failure;
      throw new Leave(word.text, word.text === 'return' ? out : value(out));
    }
    case 'param_block': case 'comment': case 'empty_statement': case '{': case '}': case ';': return [];
  }
  return fail(`the interpreter knows no ${node.type}: ${node.text}`);
}

// One turn of a loop; true ends it.
async function loop(node, out) {
  try { out.push(...await statements(named(node, 'statement_block')[0])); } catch (leave) {
    if (!(leave instanceof Leave) || !['break', 'continue'].includes(leave.kind)) throw leave;
    return leave.kind === 'break';
  }
}

// What a pipeline puts out: a list of values, an array one by one.
async function pipeline(node) {
  if (node.children[0]?.type === 'assignment_expression') { await assignment(node.children[0]); return []; }
  const chain = named(node, 'pipeline_chain')[0] ?? node;
  let out = null;
  for (const part of chain.children) {
    if (part.type === '|') continue;
    out = part.type === 'command' ? await command(part, out ?? []) : node.text.trim().endsWith('++') && part.descendantsOfType('post_increment_expression')[0]?.text === node.text.trim() ? (await evaluate(part), []) : list(await evaluate(part));
  }
  return out ?? [];
}

// The value of a pipeline that is an expression is that expression's, an array as it is.
async function result(node) {
  const chain = named(node, 'pipeline_chain')[0];
  if (chain && chain.childCount === 1 && chain.children[0].type !== 'command') return evaluate(chain.children[0]);
  return value(await pipeline(node));
}

async function assignment(node) {
  const [left, operator] = node.children;
  let v = await result(named(node, 'pipeline')[0]);
  let target = left, type;
  while (target.childCount === 1) target = target.children[0];
  if (target.type === 'cast_expression') { type = typeName(target.children[0]); target = target.children[1]; while (target.childCount === 1) target = target.children[0]; }
  if (target.type === 'variable' || target.type === 'simple_variable' || target.text.match(/^\$\w+$/)) {
    const name = variable(target);
    if (operator.text === '+=') v = add(lookup(name), v);
    return assign(name, v, type);
  }
  const object = await evaluate(target.children[0]);
  const key = target.type === 'member_access' ? target.children[2].text : text(await evaluate(target.children[2]));
  if (object instanceof Dictionary) return object.set(key.toLowerCase(), [key, v ?? null]);
  return fail(`the interpreter assigns not to ${target.text}`);
}

function add(a, b) {
  if (Array.isArray(a)) return [...a, ...list(b)];
  if (typeof a === 'number') return a + Number(b);
  if (typeof a === 'string') return a + text(b);
  return fail(`the interpreter adds not to ${typeof a}`);
}

async function evaluate(node) {
  if (/^(logical|bitwise|comparison|additive|multiplicative|format|range|array_literal|unary)(_argument)?_expression$|^argument_expression$/.test(node.type) && node.childCount === 1) return evaluate(node.children[0]);
  const [first, second, third] = node.children;
  switch (node.type) {
    case 'string_literal': return first.type === 'verbatim_string_characters' ? first.text.slice(1, -1).replace(/''/g, "'") : expand(first);
    case 'verbatim_string_characters': return node.text.slice(1, -1).replace(/''/g, "'");
    case 'expandable_string_literal': return expand(node);
    case 'integer_literal': return Number(node.text);
    case 'variable': return lookup(variable(node));
    case 'type_literal': return new Type(typeName(node));
    case 'parenthesized_expression': return result(named(node, 'pipeline')[0]);
    case 'array_expression': { const out = []; for (const child of named(node, 'statement_list')) out.push(...await statements(child)); return out; }
    case 'sub_expression': { const out = []; for (const child of named(node, 'statement_list')) out.push(...await statements(child)); return value(out); }
    case 'script_block_expression': return new Block(named(node, 'script_block')[0]);
    case 'hash_literal_expression': {
      const made = new Dictionary();
      for (const entry of node.descendantsOfType('hash_entry').filter((e) => e.parent.parent.id === node.id)) {
        const key = entry.children[0].text;
        made.set(key.toLowerCase(), [key, await result(named(entry, 'pipeline')[0]) ?? null]);
      }
      return made;
    }
    case 'array_literal_expression': { const out = []; for (const child of node.children) if (child.type !== ',') out.push(await evaluate(child)); return out; }
    case 'cast_expression': return cast(typeName(first), await evaluate(second));
    case 'expression_with_unary_operator': {
      if (node.childCount === 1) return evaluate(first);
      const v = await evaluate(second);
      if (/^-not$|^!$/i.test(first.text)) return !truth(v);
      if (first.text === ',') return [v];
      return fail(`the interpreter knows no ${first.text}`);
    }
    case 'post_increment_expression': return assign(variable(first), lookup(variable(first)) + 1);
    case 'member_access': return member(await evaluate(first), third.text);
    case 'element_access': {
      const of = await evaluate(first), key = await evaluate(third);
      if (of instanceof Dictionary) return of.get(text(key).toLowerCase())?.[1] ?? null;
      if (of?.named) return of.named(text(key));
      return key < of.length ? of[key] : fail('Index was outside the bounds of the array.');
    }
    case 'invokation_expression': {
      const values = [];
      for (const argument of node.children.at(-1).descendantsOfType('argument_expression').filter((a) => a.parent.parent.id === node.children.at(-1).id)) values.push(await evaluate(argument));
      return call(await evaluate(first), third.text, values);
    }
    case 'logical_expression': {
      const left = truth(await evaluate(first));
      return /-and/i.test(second.text) ? left && truth(await evaluate(third)) : left || truth(await evaluate(third));
    }
    case 'additive_expression': case 'additive_argument_expression': return add(await evaluate(first), await evaluate(third));
    case 'format_expression': case 'format_argument_expression': {
      const values = list(await evaluate(third));
      return (await evaluate(first)).replace(/\{(\d+)(?:,(-?\d+))?(?::([^}]*))?\}/g, (_, i, width, pattern) => {
        const v = values[i], shown = v instanceof Time ? format(v, pattern ?? 'G') : text(v);
        return width < 0 ? shown.padEnd(-width) : shown.padStart(width ?? 0);
      });
    }
    case 'comparison_expression': case 'comparison_argument_expression': return compare(second.text.toLowerCase(), await evaluate(first), await evaluate(third));
  }
  return fail(`the interpreter knows no ${node.type}: ${node.text}`);
}

function compare(operator, a, b) {
  const pick = (test) => Array.isArray(a) ? a.filter(test) : test(a);
  const matches = (v) => { const m = text(v).match(new RegExp(b, 'i')); if (m) assign('matches', Object.assign([...m], {})); return m !== null; };
  switch (operator) {
    case '-eq': return pick((v) => same(v, b));
    case '-ne': return pick((v) => !same(v, b));
    case '-gt': return fold(a) > fold(b);
    case '-ge': return fold(a) >= fold(b);
    case '-lt': return fold(a) < fold(b);
    case '-match': return pick(matches);
    case '-notmatch': return pick((v) => !matches(v));
    case '-contains': return list(a).some((v) => same(v, b));
    case '-notcontains': return !list(a).some((v) => same(v, b));
    case '-replace': { const [from, to] = list(b); return text(a).replace(new RegExp(from, 'gi'), to ?? ''); }
    case '-split': return list(a).flatMap((v) => text(v).split(new RegExp(b, 'i')));
    case '-join': return list(a).map(text).join(b);
    case '-is': return b.name.toLowerCase() === 'datetime' ? a instanceof Time : fail(`the interpreter knows no -is [${b.name}]`);
  }
  return fail(`the interpreter knows no ${operator}`);
}

const escapes = { n: '\n', t: '\t', r: '\r', 0: '\0' };
const plain = (s) => s.replace(/`(.)/gs, (_, c) => escapes[c] ?? c).replace(/""/g, '"');

async function expand(node) {
  const source = node.text;
  let out = '', at = 1;
  for (const child of node.children) {
    if (child.type !== 'variable' && child.type !== 'sub_expression') continue;
    out += plain(source.slice(at, child.startIndex - node.startIndex)) + text(await evaluate(child));
    at = child.endIndex - node.startIndex;
  }
  return out + plain(source.slice(at, -1));
}

// --- calls ---

async function command(node, input) {
  const external = node.children[0].type === 'command_invokation_operator';
  const name = (named(node, 'command_name')[0] ?? named(node, 'command_name_expr')[0]).text;
  const key = name.toLowerCase(), own = functions.get(key);
  const parameters = own ? parametersOf(own) : [];
  const isSwitch = (p) => own ? parameters.find((q) => q.name === p)?.type === 'switch' : switches.includes(p);
  const given = {}, rest = [];
  let waiting = null;
  for (const element of named(node, 'command_elements').flatMap((e) => e.children)) {
    if (element.type === 'command_argument_sep') continue;
    if (element.type === 'command_parameter') {
      const p = element.text.slice(1).replace(/:$/, '').toLowerCase();
      waiting = p;
      if (isSwitch(p) && !element.text.endsWith(':') && node.text[element.endIndex - node.startIndex] !== ':') { given[p] = true; waiting = null; }
      continue;
    }
    if (element.type === 'redirection') continue;
    const splat = element.text.match(/^@(\w+)$/);
    if (splat) { for (const [k, v] of lookup(splat[1].toLowerCase()).values()) given[k.toLowerCase()] = v; continue; }
    const v = element.type === 'generic_token' ? element.text : await evaluate(element);
    if (waiting !== null) { given[waiting] = v; waiting = null; } else rest.push(v);
  }
  if (external) {
    const done = spawnSync(name, rest.map(text), { stdio: 'inherit' });
    scopeOfScript().names.set('lastexitcode', done.status ?? 1);
    return [];
  }
  if (own) return invoke(own, parameters, given, rest);
  for (const position of positions[key] ?? []) if (given[position] === undefined && rest.length > 0) given[position] = rest.shift();
  return (commands[key] ?? fail(`The term '${name}' is not recognized as a name of a cmdlet.`))(given, rest, input);
}

const scopeOfScript = () => { let s = scope; while (s.parent) s = s.parent; return s; };

function parametersOf(node) {
  const [body] = named(node, 'script_block');
  const holder = named(node, 'function_parameter_declaration')[0] ?? (body && named(body, 'param_block')[0]) ?? (node.type === 'param_block' ? node : null);
  return (holder?.descendantsOfType('script_parameter') ?? []).map((p) => {
    const attributes = p.descendantsOfType('attribute').map((a) => a.text);
    return {
      name: variable(named(p, 'variable')[0]), attributes,
      type: attributes.map((a) => a.match(/^\[([\w.]+(\[\])?)\]$/)?.[1]).find(Boolean),
      standard: named(p, 'script_parameter_default')[0]?.children.at(-1),
    };
  });
}

async function bind(parameters, given, rest) {
  for (const p of Object.keys(given)) if (!parameters.some((q) => q.name === p)) fail(`A parameter cannot be found that matches parameter name '${p}'.`);
  for (const p of parameters) {
    let v = given[p.name];
    if (v === undefined && p.type !== 'switch' && rest.length > 0) v = rest.shift();
    if (v === undefined && p.standard) v = await evaluate(p.standard);
    else if (v === undefined) v = p.type === 'switch' ? false : p.type?.endsWith('[]') ? [] : null;
    else check(p, v);
    assign(p.name, v, p.type);
  }
  if (rest.length > 0) fail(`A positional parameter cannot be found that accepts argument '${text(rest[0])}'.`);
}

// The attributes that limit what a parameter takes.
function check(p, v) {
  const refuse = () => fail(`Cannot validate argument on parameter '${p.name}'.`);
  for (const attribute of p.attributes) {
    const inside = attribute.match(/\((.*)\)/s)?.[1] ?? '';
    if (attribute.startsWith('[ValidateSet') && ![...inside.matchAll(/'([^']*)'/g)].some((m) => same(m[1], v))) refuse();
    if (attribute.startsWith('[ValidatePattern') && !list(v).every((x) => new RegExp(inside.slice(1, -1)).test(x))) refuse();
    if (attribute.startsWith('[ValidateRange')) { const [from, to] = inside.split(',').map(Number); if (!(v >= from && v <= to)) refuse(); }
  }
}

// A script's parameters belong to sets: those given must have one in common, with all that it requires.
function checkSets(parameters, given) {
  const sets = (p) => p.attributes.flatMap((a) => a.match(/ParameterSetName = '(\w+)'/)?.[1] ?? []);
  const all = [...new Set(parameters.flatMap(sets))];
  const possible = all.filter((set) => parameters.every((p) => {
    const of = sets(p), has = given[p.name] !== undefined;
    const required = p.attributes.some((a) => a.includes(`'${set}'`) && a.includes('Mandatory = $true'));
    return (!has || of.length === 0 || of.includes(set)) && (!required || has);
  }));
  if (all.length > 0 && possible.length === 0) fail('Parameter set cannot be resolved using the specified named parameters.');
}

async function invoke(node, parameters, given, rest) {
  scope = { names: new Map(), types: new Map(), parent: scope };
  try {
    await bind(parameters, given, rest);
    return await statements(named(node, 'script_block')[0]);
  } catch (leave) {
    if (leave instanceof Leave && leave.kind === 'return') return leave.value;
    throw leave;
  } finally { scope = scope.parent; }
}

// --- the script ---

await Parser.init();
const parser = new Parser();
parser.setLanguage(await Language.load(require.resolve('tree-sitter-powershell/tree-sitter-powershell.wasm')));
const tree = parser.parse(readFileSync(file, 'utf8'));

const given = {};
let exitCode = 0;
for (const [name, v] of Object.entries({
  true: true, false: false, null: null, pid: process.pid, whatifpreference: false, lastexitcode: 0,
  executioncontext: new Item({ SessionState: new Item({ Path: new Item({ GetUnresolvedProviderPathFromPSPath: (p) => path.resolve(p) }) }) }),
  pscmdlet: new Item({ ShouldProcess: () => truth(given.confirm === false) }),
})) assign(name, v);
try {
  const parameters = parametersOf(named(tree.rootNode, 'param_block')[0]);
  for (let i = 0; i < args.length; i++) {
    const name = args[i].match(/^-([A-Za-z]+)(:\$false)?$/) ?? fail(`A positional parameter cannot be found that accepts argument '${args[i]}'.`);
    const p = parameters.find((q) => q.name === name[1].toLowerCase());
    if (name[2]) given[name[1].toLowerCase()] = false;
    else given[name[1].toLowerCase()] = p?.type === 'switch' ? true : args[++i] ?? fail(`Missing an argument for parameter '${name[1]}'.`);
  }
  checkSets(parameters, given);
  const { confirm, ...own } = given;
  await bind(parameters, own, []);
  for (const v of await statements(tree.rootNode)) process.stdout.write(text(v) + '\n');
} catch (leave) {
  if (leave instanceof Leave) {
    if (leave.kind === 'exit') exitCode = leave.value ?? 0;
  } else if (leave instanceof Failure) {
    say(leave.message);
    exitCode = 1;
  } else throw leave;
}
process.exit(exitCode);
