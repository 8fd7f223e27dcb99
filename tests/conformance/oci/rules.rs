//! The list of the specification's rules (`rules.txt`) and the cases, held against each other.

use super::cases;

const RULES: &str = include_str!("rules.txt");

/// A rule of the list.
#[derive(Debug, Default)]
struct Rule<'a> {
    words: &'a str,
    cases: Vec<&'a str>,
    reason: Option<&'a str>,
}

fn rules() -> Vec<Rule<'static>> {
    let mut rules: Vec<Rule<'_>> = Vec::new();
    for line in RULES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("= "), line.strip_prefix("- "), rules.last_mut()) {
            (Some(case), _, Some(rule)) => rule.cases.push(case),
            (_, Some(reason), Some(rule)) => rule.reason = Some(reason),
            _ => rules.push(Rule { words: line, ..Rule::default() }),
        }
    }
    rules
}

#[test]
fn every_rule_of_the_specification_has_a_case_or_a_reason() {
    let (rules, cases) = (rules(), cases());
    let names: Vec<&str> = cases.iter().map(|case| case.rule).collect();
    let mut wrong = Vec::new();
    for rule in &rules {
        if rule.cases.is_empty() && rule.reason.is_none() {
            wrong.push(format!("no case: {}", rule.words));
        }
        let unknown = rule.cases.iter().filter(|case| !names.contains(case));
        wrong.extend(unknown.map(|case| format!("no such case: {case}")));
    }
    let unused = names.iter().filter(|name| !rules.iter().any(|rule| rule.cases.contains(name)));
    wrong.extend(unused.map(|name| format!("of no rule: {name}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rules.len() > 110, "{} rules", rules.len());
}
