// Validates the Kubernetes objects on standard input, a JSON list, and prints a list of what is wrong with each.
//
//     node validate.mjs FOLDER-WITH-NODE-MODULES < objects.json

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [home] = process.argv.slice(2);
const packages = {
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};

async function problems(object) {
  const group = object.apiVersion.split("/")[0];
  const file = `${home}/node_modules/@kubernetes-models/${packages[group]}/${object.apiVersion}/${object.kind}.js`;
  const { [object.kind]: Model } = await import(pathToFileURL(file));
  try {
    new Model(object).validate();
    return [];
  } catch (error) {
    return error.errors ? error.errors.map((one) => `${one.instancePath} ${one.message}`) : [String(error)];
  }
}

const objects = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(objects.map(problems))));
