// Parses PowerShell scripts with a grammar of the language and fails on what
// does not parse, on syntax that only PowerShell 7 has, on bytes that Windows
// PowerShell 5.1 would misread, and on a command, parameter or variable that
// the script does not define and that is not known to exist.
//
//   node --liftoff-only powershell.mjs MODULES SCRIPT...     MODULES: where npm installed web-tree-sitter and tree-sitter-powershell
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [modules, ...scripts] = process.argv.slice(2);
const require = createRequire(modules + '/');
const { Parser, Language } = require('web-tree-sitter');

// Commands that scripts may call, with the parameters that they may use. Both
// PowerShell 5.1 and 7 have them; those of Microsoft.Graph are of its version 2.
const commands = {
  'Connect-MgGraph': ['Scopes', 'TenantId', 'Environment', 'ContextScope', 'NoWelcome', 'UseDeviceCode'],
  'Get-MgContext': [],
  'Invoke-MgGraphRequest': ['Method', 'Uri', 'Body', 'ContentType', 'OutputType'],
  'ConvertTo-Json': ['Depth', 'Compress'],
  'ForEach-Object': [],
  'Get-Command': ['Name', 'ErrorAction'],
  'Get-Date': [],
  'Join-Path': ['Path', 'ChildPath'],
  'Move-Item': ['LiteralPath', 'Destination', 'Force'],
  'New-Object': ['TypeName', 'ArgumentList'],
  'Out-Null': [],
  'Remove-Item': ['LiteralPath', 'Force'],
  'Select-Object': ['Unique'],
  'Set-StrictMode': ['Version'],
  'Sort-Object': ['Property', 'Descending'],
  'Split-Path': ['Path', 'Parent'],
  'Start-Sleep': ['Seconds'],
  'Test-Path': ['LiteralPath', 'PathType'],
  'Where-Object': [],
  'Write-Host': [],
  'Write-Output': [],
  'Write-Warning': [],
  'icacls.exe': null,
  chmod: null,
};

const automatic = ['_', 'true', 'false', 'null', 'PID', 'Matches', 'LASTEXITCODE', 'PSCmdlet', 'ExecutionContext',
  'ErrorActionPreference', 'WhatIfPreference'];

await Parser.init();
const parser = new Parser();
parser.setLanguage(await Language.load(require.resolve('tree-sitter-powershell/tree-sitter-powershell.wasm')));

const parameterName = (node) => node.children.find((child) => child.type === 'variable').text.slice(1);

let problems = 0;
for (const script of scripts) {
  const bytes = readFileSync(script);
  const source = bytes.toString('utf8');
  const report = (node, message) => {
    problems++;
    const { row, column } = node.startPosition;
    console.error(`${script}:${row + 1}:${column + 1}: ${message}\n    ${source.split('\n')[row]}`);
  };

  const wide = bytes.findIndex((byte) => byte > 126 || (byte < 32 && byte !== 10 && byte !== 9));
  if (wide >= 0) {
    problems++;
    console.error(`${script}: byte ${wide} is not plain ASCII: Windows PowerShell 5.1 would misread it`);
  }

  const tree = parser.parse(source);
  const all = [];
  (function walk(node) {
    all.push(node);
    for (const child of node.children) walk(child);
  })(tree.rootNode);

  // Functions and their parameters, variables that something assigns.
  const functions = new Map();
  const assigned = new Set(automatic.map((name) => name.toLowerCase()));
  const name = (node) => node.text.replace(/^[$@]\{?/, '').replace(/\}$/, '').toLowerCase();
  for (const node of all) {
    if (node.type === 'function_statement') {
      const called = node.children.find((child) => child.type === 'function_name').text;
      const parameters = node.descendantsOfType('script_parameter').map(parameterName);
      functions.set(called.toLowerCase(), parameters.map((p) => p.toLowerCase()));
    }
    if (node.type === 'script_parameter') assigned.add(parameterName(node).toLowerCase());
    if (node.type === 'left_assignment_expression') for (const v of node.descendantsOfType('variable')) assigned.add(name(v));
    if (node.type === 'foreach_statement') assigned.add(name(node.children.find((child) => child.type === 'variable')));
  }

  // What does not parse makes the rest unsure; some of what PowerShell 7 added does not, either.
  for (const node of all) {
    if (node.type === 'ERROR') report(node, 'does not parse as PowerShell 5.1');
    if (node.isMissing) report(node, `${node.type} is missing`);
    if (['?', '??', '??=', '?.', '&&', '||'].includes(node.type)) report(node, `${node.type} is of PowerShell 7 only`);
  }
  if (problems > 0) continue;

  let calls = 0;
  for (const node of all) {
    if (node.type === 'variable') {
      const used = name(node);
      if (!used.startsWith('env:') && !assigned.has(used)) report(node, `${node.text} is never set`);
    }
    if (node.type !== 'command') continue;
    calls++;
    const called = node.descendantsOfType('command_name')[0]?.text;
    const known = Object.keys(commands).find((command) => command.toLowerCase() === called?.toLowerCase());
    const own = functions.get(called?.toLowerCase());
    if (!known && !own) {
      report(node, `${called} is neither a function of the script nor a known command`);
      continue;
    }
    const allowed = own ?? commands[known]?.map((p) => p.toLowerCase());
    if (!allowed) continue; // another program: its arguments are its own
    const elements = node.children.find((child) => child.type === 'command_elements');
    for (const element of elements?.children ?? []) {
      if (element.type !== 'command_parameter') continue;
      const parameter = element.text.slice(1).replace(/:$/, '');
      if (!allowed.includes(parameter.toLowerCase())) report(element, `${called} has no parameter -${parameter}`);
    }
  }

  // The help describes each parameter, and no other.
  const parameters = tree.rootNode.descendantsOfType('param_block')[0]
    .descendantsOfType('script_parameter').map(parameterName);
  const described = [...source.matchAll(/^\.PARAMETER (\w+)$/gm)].map((match) => match[1]);
  for (const parameter of parameters) {
    if (!described.includes(parameter)) { problems++; console.error(`${script}: the help does not describe -${parameter}`); }
  }
  for (const parameter of described) {
    if (!parameters.includes(parameter)) { problems++; console.error(`${script}: the help describes -${parameter}, which is none`); }
  }
  console.log(`   ${script}: ${all.length} nodes, ${functions.size} functions, ${calls} calls, ${parameters.length} parameters`);
}
process.exit(problems > 0 ? 1 : 0);
